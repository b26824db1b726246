// Publishes a message, if one is given, and then prints the dead letters as they come:
//
//	NATS_URL=nats://127.0.0.1:4222 node deadletters.js [SUBJECT BODY]
//
// Whoever wants to do more with a dead letter than the admin page does reads them so.
import { connect } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const nc = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222" });
const js = jetstream(nc);

const [subject, body] = process.argv.slice(2);
if (subject) {
  const ack = await js.publish(subject, body);
  console.log("published", subject, "as number", ack.seq, "of", ack.stream);
}

// An ordered consumer reads along from the beginning and acks nothing: relay's own
// consumer of this stream, which brings the dead letters into the table, is another one.
const consumer = await js.consumers.get("RELAY_DLQ");
for await (const m of await consumer.consume()) {
  const { headers } = m;
  if (!headers?.has("Relay-Id")) {
    console.log("not relay's:", m.subject);
    continue;
  }
  const of = (name) => headers.get(`Relay-${name}`);
  console.log("dead", of("Route"), of("Subject"), of("Reason"), of("Status"), m.string());
}
