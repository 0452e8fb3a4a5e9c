// The published Centrifuge SDK and a plain websocket talk in one room, through whatever stands at the address.
// Usage: node talk.mjs ws[s]://HOST:PORT [ca.pem]; exits 0 when everything was as it should be.
import { createHash } from "node:crypto";
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

// Clients of goim and its relatives in one room with the SDK and a text client.
const chat = "live://8000202405211";

/** A packet: length, header length, version, operation, sequence, body. */
function packet(operation, body) {
  const bytes = Buffer.alloc(16 + Buffer.byteLength(body));
  bytes.writeInt32BE(bytes.length, 0);
  bytes.writeInt16BE(16, 4);
  bytes.writeInt16BE(1, 6);
  bytes.writeInt32BE(operation, 8);
  bytes.writeInt32BE(1, 12);
  bytes.write(body, 16);
  return bytes;
}

/** The next body of one of these operations, from within a batch as well. */
function body(socket, ...operations) {
  return within(`operation ${operations}`, new Promise((resolve) => {
    socket.on("message", (bytes) => {
      const inner = bytes.readInt32BE(8) === 9 ? bytes.subarray(16) : bytes;
      if (operations.includes(inner.readInt32BE(8))) resolve(inner.subarray(16).toString());
    });
  }));
}

async function speaker(path, login) {
  const socket = new Socket(`${base}${path}`);
  await next(socket, "open");
  const done = body(socket, 8);
  socket.send(packet(7, JSON.stringify(login)));
  await done;
  return socket;
}

const md5 = (text) => createHash("md5").update(text).digest("hex");
const goim = await speaker("/sub", { mid: 123, room_id: chat, accepts: [1000] });
const orim = await speaker("/orim/sub", {
  mid: "202405211", room_id: chat, accepts: "[8000202405211]", key: md5(`202405211-web-${chat}`), shop_id: "8000",
});
const golang = await speaker("/golang-im/ws", {
  user_id: 7, device_id: md5("web_7"), platform: "web", room_id: chat,
});
const reader = new Socket(`${base}/ws?token=dora&cid=${encodeURIComponent(chat)}`);
await next(reader, "open");
const joined = next(reader, "message");
reader.send("ping");
await joined;
const inChat = await subscribed(alice.made, chat);
const heard = [body(goim, 5), body(orim, 5), body(golang, 5)];
const read = next(reader, "message");
await within("publish", inChat.publish({ type: "text", msg: "to every dialect" }));
for (const text of [...(await Promise.all(heard)), (await read).toString()]) {
  assert.equal(JSON.parse(text).msg, "to every dialect");
}
const fromGoim = next(inChat, "publication");
goim.send(packet(4, "from a packet"));
assert.equal((await fromGoim).data, "from a packet");
for (const socket of [goim, orim, golang, reader]) socket.close();

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
