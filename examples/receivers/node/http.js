// A receiver on Node's own http module: RELAY_SECRET=whsec_… PORT=9000 node http.js
import http from "node:http";
import { Webhook } from "standardwebhooks";
import { once } from "./seen.js";

const webhook = new Webhook(process.env.RELAY_SECRET);
const largest = 1 << 20; // bytes of a body

const server = http.createServer((req, res) => {
  const chunks = [];
  let size = 0;
  req.on("data", (chunk) => {
    size += chunk.length;
    if (size <= largest) chunks.push(chunk); // nobody fills the memory before the signature is looked at
  });
  req.on("end", () => {
    if (size > largest) {
      res.writeHead(413).end();
      return;
    }
    const body = Buffer.concat(chunks); // the bytes as they came: these are signed
    try {
      webhook.verify(body, req.headers, { jsonParse: false }); // what is no JSON may be well signed
    } catch (err) {
      console.log("refused", err.message);
      res.writeHead(401).end();
      return;
    }
    let event;
    try {
      event = JSON.parse(body); // only now
    } catch {
      res.writeHead(422).end("not JSON"); // never: it becomes a dead letter that a person sees
      return;
    }
    once(req.headers["webhook-id"], () => console.log("handled", req.headers["relay-subject"], event));
    res.writeHead(204).end();
  });
});

server.listen(process.env.PORT ?? 9000, "127.0.0.1", () => {
  console.log(`receiving on http://127.0.0.1:${server.address().port}`);
});
