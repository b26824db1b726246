// A receiver on Express: RELAY_SECRET=whsec_… PORT=9000 node express.js
import express from "express";
import { Webhook } from "standardwebhooks";
import { once } from "./seen.js";

const webhook = new Webhook(process.env.RELAY_SECRET);
const app = express();

// express.raw, not express.json: what is signed are the bytes as they came. For an app
// with express.json for its other paths, this route stands before it.
app.post("/", express.raw({ type: () => true, limit: "1mb" }), (req, res) => {
  // Without a body, Express leaves something else than bytes.
  const body = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0);
  try {
    webhook.verify(body, req.headers, { jsonParse: false }); // what is no JSON may be well signed
  } catch (err) {
    console.log("refused", err.message);
    return res.sendStatus(401);
  }
  let event;
  try {
    event = JSON.parse(body); // only now
  } catch {
    return res.status(422).send("not JSON"); // never: it becomes a dead letter that a person sees
  }
  once(req.get("webhook-id"), () => console.log("handled", req.get("relay-subject"), event));
  res.sendStatus(204);
});

const server = app.listen(process.env.PORT ?? 9000, "127.0.0.1", () => {
  console.log(`receiving on http://127.0.0.1:${server.address().port}`);
});
