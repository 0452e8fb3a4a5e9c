// An EventSource, which knows no protocol, comes back to where it was by itself.
// Usage: node listen.mjs http://HOST:PORT; exits 0 when all was as it should be.
import assert from "node:assert/strict";
import { EventSource } from "eventsource";

const [base] = process.argv.slice(2);
let cut;
async function watched(address, options) {
  cut = new AbortController();
  const answer = await fetch(address, options);
  // Ends the body as a broken connection does, and leaves the EventSource itself alone.
  const body = answer.body.pipeThrough(new TransformStream(), { signal: cut.signal });
  return new Response(body, { status: answer.status, headers: answer.headers });
}

/** Publishes into the room as a listener would see it. */
async function publish(data) {
  const login = JSON.stringify({ id: 1, connect: { token: "alice" } });
  const said = JSON.stringify({ id: 2, publish: { channel: "news", data } });
  const join = JSON.stringify({ id: 3, subscribe: { channel: "news" } });
  const abort = new AbortController();
  const body = [login, join, said].join("\n");
  const answer = await fetch(`${base}/connection/http_stream`, { method: "POST", body, signal: abort.signal });
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes('"publish":{}')) break;
  }
}

const login = encodeURIComponent(JSON.stringify({ token: "carol", subs: { news: {} } }));
const source = new EventSource(`${base}/connection/uni_sse?cf_connect=${login}`, { fetch: watched });
const events = [];
let wake = () => {};
source.onmessage = ({ data }) => {
  events.push(JSON.parse(data));
  wake();
};
async function event() {
  const late = setTimeout(() => {
    console.error("no event in time");
    process.exit(1);
  }, 10_000);
  while (events.length === 0) await new Promise((resolve) => (wake = resolve));
  clearTimeout(late);
  return events.shift();
}

assert.equal((await event()).connect.subs.news.recoverable, true);
await publish(1);
assert.deepEqual((await event()).pub.data, 1);
cut.abort(new Error("cut"));
await publish(2);
await publish(3);
const { connect } = await event();
assert.equal(connect.subs.news.recovered, true);
assert.deepEqual(connect.subs.news.publications.map(({ data }) => data), [2, 3]);
await publish(4);
assert.deepEqual((await event()).pub.data, 4);
source.close();
console.log("listened");
process.exit(0);
