// The published Centrifuge SDK without websockets: it talks, loses its connection, and comes back to what it missed.
// Usage: node emulate.mjs http://HOST:PORT sse|http_stream|http_stream_protobuf; exits 0 when all was as it should be.
import assert from "node:assert/strict";
import { EventSource } from "eventsource";

const [base, wanted] = process.argv.slice(2);
const protobuf = wanted === "http_stream_protobuf";
const transport = protobuf ? "http_stream" : wanted;
const { Centrifuge } = await import(protobuf ? "centrifuge/build/protobuf" : "centrifuge");

const PATIENCE = 10_000;

/** The promise, or an error that says what did not happen. */
function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`did not happen: ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const next = (emitter, event) => within(event, new Promise((resolve) => emitter.once(event, resolve)));
const packed = (value) => (protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
const unpacked = (data) => (protobuf ? JSON.parse(new TextDecoder().decode(data)) : data);

/** Every connection that a client opens, so that it can be cut. */
const cuts = new Set();
async function watched(address, options) {
  if (!String(address).includes("/connection/")) return fetch(address, options);
  const cut = new AbortController();
  cuts.add(cut);
  const signal = options.signal ? AbortSignal.any([options.signal, cut.signal]) : cut.signal;
  return fetch(address, { ...options, signal });
}
class Events extends EventSource {
  constructor(address, options) {
    super(address, { ...options, fetch: watched });
  }
}

async function client(token) {
  const made = new Centrifuge([{ transport, endpoint: `${base}/connection/${transport}` }], {
    emulationEndpoint: `${base}/emulation`,
    eventsource: Events,
    fetch: watched,
    readableStream: ReadableStream,
    token,
    minReconnectDelay: 300,
  });
  const connected = next(made, "connected");
  made.connect();
  assert.equal((await connected).transport, transport);
  return made;
}

async function subscribed(to, room) {
  const subscription = to.newSubscription(room);
  const done = next(subscription, "subscribed");
  subscription.subscribe();
  await done;
  return subscription;
}

const room = `lobby-${wanted}`;
const bob = await client("bob");
const bobs = await subscribed(bob, room);
const bobsCuts = [...cuts];
const alice = await client("alice");
const alices = await subscribed(alice, room);

// From one client to the other, and back to the sender.
const atBob = next(bobs, "publication");
const atAlice = next(alices, "publication");
await within("publish", alices.publish(packed({ text: "hello" })));
for (const publication of [await atBob, await atAlice]) {
  assert.deepEqual(unpacked(publication.data), { text: "hello" });
  assert.equal(publication.info.user, "alice");
}
await assert.rejects(within("refusal", bob.publish("", packed(1))), { code: 107 });

// Bob's connection breaks; what is said meanwhile reaches him once, and in its order.
const heard = [];
bobs.on("publication", ({ data }) => heard.push(unpacked(data)));
const gone = next(bob, "connecting");
// An error of its own: a library takes an AbortError for its own wish.
bobsCuts.forEach((cut) => cut.abort(new Error("cut")));
await gone;
const back = next(bobs, "subscribed");
for (const number of [1, 2, 3]) await within("publish", alices.publish(packed(number)));
const { wasRecovering, recovered } = await back;
assert.deepEqual([wasRecovering, recovered], [true, true]);
const last = new Promise((resolve) => {
  bobs.on("publication", ({ data }) => unpacked(data) === "last" && resolve());
});
await within("publish", alices.publish(packed("last")));
await within("the last message", last);
assert.deepEqual(heard, [1, 2, 3, "last"]);

for (const one of [alice, bob]) {
  const disconnected = next(one, "disconnected");
  one.disconnect();
  await disconnected;
}
console.log("talked");
