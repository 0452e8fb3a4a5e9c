// A published library for Centrifugo's server API, unchanged, drives a pillion with a client in it.
// Usage: node backend.mjs http://HOST:PORT API_KEY; exits 0 when everything was as it should be.
import assert from "node:assert/strict";
import { CentClient, CentException } from "cent.js";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const [base, apiKey] = process.argv.slice(2);
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

const cent = new CentClient({ url: `${base}/api`, apiKey });
const client = new Centrifuge(`${base.replace("http", "ws")}/connection/websocket`, {
  websocket: WebSocket,
  token: "alice",
});
const connected = next(client, "connected");
client.connect();
await connected;
const subscription = client.newSubscription("lobby");
const subscribed = next(subscription, "subscribed");
subscription.subscribe();
await subscribed;

// One message, and one into several rooms.
const heard = next(subscription, "publication");
const published = await cent.publish({ channel: "lobby", data: { text: "from a backend" } });
assert.equal(typeof published, "object");
assert.deepEqual((await heard).data, { text: "from a backend" });
const heardByAll = next(subscription, "publication");
const { responses } = await cent.broadcast({ channels: ["lobby", "elsewhere"], data: "to all" });
assert.deepEqual(responses.map(({ error }) => error), [undefined, undefined]);
assert.equal((await heardByAll).data, "to all");

// What is refused comes as the library's own error.
await assert.rejects(cent.publish({ channel: "", data: 1 }), CentException);
await assert.rejects(cent.getPresence({}), CentException);

const { nodes } = await cent.getInfo();
assert.equal(nodes.length, 1);
assert.equal(nodes[0].num_clients, 1);
await cent.unsubscribe({ user: "nobody", channel: "lobby" });
await cent.disconnect({ user: "nobody" });
await cent.refresh({ user: "nobody", expired: false });

// Several commands in one request, in the library's older form.
const results = await cent.pipeline([
  { method: "publish", params: { channel: "elsewhere", data: 1 } },
  { method: "info", params: {} },
]);
assert.equal(results[1].nodes.length, 1);
client.disconnect();
console.log("driven");
