// The published Centrifuge SDK and a plain websocket talk in one room, through whatever stands at the address.
// Usage: node talk.mjs ws[s]://HOST:PORT [ca.pem]; exits 0 when everything was as it should be.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const [base, ca] = process.argv.slice(2);
const options = ca ? { ca: readFileSync(ca) } : {};
class Socket extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, options);
  }
}

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

async function client(token) {
  const made = new Centrifuge(`${base}/connection/websocket`, { websocket: Socket, token });
  const connected = next(made, "connected");
  made.connect();
  const { client: session } = await connected;
  assert.match(session, /^[\w.-]+\.[0-9a-f]{16}\.\d+\.[0-9a-z]+$/);
  return { made, session };
}

async function subscribed(to, room) {
  const subscription = to.newSubscription(room);
  const done = next(subscription, "subscribed");
  subscription.subscribe();
  await done;
  return subscription;
}

const alice = await client("alice");
const bob = await client("bob");
const alices = await subscribed(alice.made, "lobby");
const bobs = await subscribed(bob.made, "lobby");

// From one SDK client to the other, and back to the sender.
const atBob = next(bobs, "publication");
const atAlice = next(alices, "publication");
await within("publish", alices.publish({ text: "hello" }));
for (const publication of [await atBob, await atAlice]) {
  assert.deepEqual(publication.data, { text: "hello" });
  assert.equal(publication.info.user, "alice");
  assert.equal(publication.info.client, alice.session);
}

// From the SDK to the text dialect and back.
const text = new Socket(`${base}/ws?token=carol&cid=lobby`);
await next(text, "open");
const echo = next(text, "message");
text.send("ping");
assert.equal((await echo).toString(), "ping");
const atText = next(text, "message");
await within("publish", bobs.publish({ text: "to all" }));
assert.deepEqual(JSON.parse((await atText).toString()), { text: "to all" });

const back = new Promise((resolve) => {
  alices.on("publication", ({ data }) => typeof data === "string" && resolve(data));
});
text.send(JSON.stringify({ cid: "lobby", d: Buffer.from("from the text side").toString("base64") }));
assert.equal(await within("a text reaches the SDK", back), "from the text side");

// A room left is a room that is silent; one's own refusals come as errors.
const left = next(bobs, "unsubscribed");
bobs.unsubscribe();
await left;
await assert.rejects(within("refusal", bob.made.rpc("nothing", {})), { code: 104 });
await assert.rejects(within("refusal", bob.made.publish("", 1)), { code: 107 });

// The server's ping is answered, and goodbye is goodbye.
const gone = next(alice.made, "disconnected");
alice.made.disconnect();
await gone;
bob.made.disconnect();
text.close();
await next(text, "close");
console.log("talked");
