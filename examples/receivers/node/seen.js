// The deliveries that were done, by webhook-id. A real receiver keeps them in its
// database, in the transaction of the work; here they are forgotten at the end.
const seen = new Set();

/** Does the work of a delivery, unless it was done before. */
export function once(id, work) {
  if (seen.has(id)) {
    console.log("duplicate", id);
    return;
  }
  work();
  seen.add(id);
}
