// The published Centrifuge SDK, unchanged, does everything it can do with a gateway.
// Usage: node conform.mjs SOCKET json|protobuf SECRET; exits 0 when everything was as it should be.
import assert from "node:assert/strict";
import { Gateway, listener, next, numbers, said, unix, until, within } from "./gateway.mjs";

const [path, encoding, secret] = process.argv.slice(2);
const gateway = new Gateway(path, encoding, secret);
const { encode, decode } = gateway;

/** Rooms of namespaces that the two runs of this script do not share. */
const room = (namespace, name) => `${namespace ? `${namespace}:` : ""}${name}-${encoding}`;

async function talk() {
  const info = { name: "Alice" };
  const alice = await gateway.connected("alice", { token: gateway.token({ sub: "alice", info }) });
  const bob = await gateway.connected("bob");
  assert.match(alice.context.client, /^[\w.-]+\.[0-9a-f]{16}\.\d+\.[0-9a-z]+$/);
  const lobby = room("open", "lobby");
  const alices = await listener(gateway, alice, lobby, { joinLeave: true });
  const joined = next(alices, "join");
  const bobs = await listener(gateway, bob, lobby);
  assert.equal((await joined).info.user, "bob");

  await within("publish", alices.publish(encode({ text: "hello" })));
  await within("publish without a subscription", alice.publish(lobby, encode("again")));
  await bobs.heard(2);
  assert.deepEqual(bobs.log, [
    { data: { text: "hello" }, offset: 1 },
    { data: "again", offset: 2 },
  ]);
  const heard = next(bobs, "publication");
  await within("publish", alices.publish(encode(3)));
  const by = (await heard).info;
  assert.deepEqual([by.user, by.client, decode(by.connInfo)], ["alice", alice.context.client, info]);

  const { clients } = await within("presence", alices.presence());
  assert.deepEqual(Object.keys(clients).sort(), [alice.context.client, bob.context.client].sort());
  assert.equal(clients[bob.context.client].user, "bob");
  const stats = await within("presence stats", bob.presenceStats(lobby));
  assert.deepEqual([stats.numClients, stats.numUsers], [2, 2]);
  const left = next(alices, "leave");
  bobs.unsubscribe();
  assert.equal((await left).info.client, bob.context.client);
  assert.equal((await alices.presenceStats()).numClients, 1);
  await assert.rejects(within("refusal", bob.presence(lobby)), { code: 103 });
  alice.disconnect();
  bob.disconnect();
}

async function history() {
  const client = await gateway.connected("reader");
  const subscription = await listener(gateway, client, room("open", "book"));
  for (const number of numbers(1, 7)) {
    await within("publish", subscription.publish(encode(number)));
  }
  const page = async (options) => {
    const { publications, offset, epoch } = await within("history", subscription.history(options));
    return { said: publications.map(({ data }) => decode(data)), offsets: publications.map((one) => one.offset), offset, epoch };
  };
  const top = await page({ limit: 0 });
  assert.deepEqual([top.said, top.offset], [[], 7]);
  assert.ok(top.epoch.length > 0);
  assert.deepEqual((await page({ limit: -1 })).said, numbers(1, 7));
  assert.deepEqual((await page({ limit: 3 })).said, [1, 2, 3]);
  assert.deepEqual((await page({ limit: 3, reverse: true })).said, [7, 6, 5]);
  // Page by page, forwards and backwards.
  for (const reverse of [false, true]) {
    const pages = [];
    let since;
    for (;;) {
      const { said: read, offsets } = await page({ limit: 3, reverse, since });
      if (read.length === 0) {
        break;
      }
      pages.push(read);
      since = { offset: offsets.at(-1), epoch: top.epoch };
    }
    assert.deepEqual(pages, reverse ? [[7, 6, 5], [4, 3, 2], [1]] : [[1, 2, 3], [4, 5, 6], [7]]);
  }
  await assert.rejects(page({ limit: 3, since: { offset: 1, epoch: "zzzz" } }), { code: 112 });
  await assert.rejects(client.history(room("forgetful", "book"), { limit: 1 }), { code: 103 }, "not a member");
  const forgetful = await listener(gateway, client, room("forgetful", "book"));
  await assert.rejects(forgetful.history({ limit: 1 }), { code: 108 });
  client.disconnect();
}

/** A line that is cut while others publish: everything comes, in its order, once; or the client is told. */
async function recovery(namespace) {
  const bob = await gateway.connected("bob");
  const alice = await gateway.connected("alice");
  const name = room(namespace, "recovery");
  const bobs = await listener(gateway, bob, name);
  const alices = await listener(gateway, alice, name);
  const publish = async (from, to) => {
    for (const number of numbers(from, to)) {
      await within("publish", bobs.publish(encode(number)));
    }
  };
  await publish(1, 5);
  await alices.heard(5);
  for (let round = 0; round < 3; round += 1) {
    const before = 5 + round * 20;
    const lost = next(alice, "connecting");
    // The cut is in the middle of what is said.
    const saying = publish(before + 1, before + 20);
    alice.line.cut();
    await lost;
    await saying;
    const back = next(alices, "subscribed");
    alice.line.mend();
    const { wasRecovering, recovered } = await back;
    assert.deepEqual([wasRecovering, recovered], [true, true]);
    await alices.heard(before + 20);
  }
  assert.deepEqual(said(alices), numbers(1, 65));
  assert.deepEqual(alices.log.map(({ offset }) => offset), numbers(1, 65));

  // More than the room keeps: nothing of it comes, and the client is told.
  const lost = next(alice, "connecting");
  alice.line.cut();
  await lost;
  await publish(66, 66 + 120);
  const back = next(alices, "subscribed");
  alice.line.mend();
  const { wasRecovering, recovered } = await back;
  assert.deepEqual([wasRecovering, recovered], [true, false]);
  await publish(187, 187);
  await alices.heard(66);
  assert.deepEqual(alices.log.at(-1), { data: 187, offset: 187 });
  bob.disconnect();
  alice.disconnect();
}

/** Rooms that the token names: joined by the server, recovered like any other. */
async function serverSide() {
  const name = room("closed", "granted");
  const claims = { sub: "guest", channels: [name] };
  const client = gateway.client("guest", { token: gateway.token(claims) });
  const log = [];
  client.on("publication", ({ channel, data, offset }) => {
    assert.equal(channel, name);
    log.push({ data: decode(data), offset });
    client.emit("logged");
  });
  const connected = next(client, "connected");
  const subscribed = next(client, "subscribed");
  client.connect();
  await connected;
  const first = await subscribed;
  assert.deepEqual([first.channel, first.recovered, first.recoverable], [name, false, true]);
  const publisher = await gateway.connected("host", { token: gateway.token({ sub: "host", channels: [name] }) });
  const publish = (number) => within("publish", publisher.publish(name, encode(number)));
  await publish(1);
  await until("the first", client, "logged", () => log.length === 1);
  const lost = next(client, "connecting");
  client.line.cut();
  await lost;
  await publish(2);
  await publish(3);
  const again = next(client, "subscribed");
  client.line.mend();
  const { wasRecovering, recovered } = await again;
  assert.deepEqual([wasRecovering, recovered], [true, true]);
  await publish(4);
  await until("all", client, "logged", () => log.length >= 4);
  assert.deepEqual(log, numbers(1, 4).map((number) => ({ data: number, offset: number })));
  // Nobody else gets in without a token of the room.
  const stranger = await gateway.connected("stranger");
  const refused = stranger.newSubscription(name);
  const unsubscribed = next(refused, "unsubscribed");
  refused.subscribe();
  assert.equal((await unsubscribed).code, 103);
  [client, publisher, stranger].forEach((one) => one.disconnect());
}

/** Tokens that expire soon: the SDK gets new ones, and nobody is let go. */
async function refreshes() {
  const name = room("closed", "vouched");
  let logins = 0;
  let vouched = 0;
  const client = await gateway.connected("member", {
    token: "",
    getToken: async () => {
      logins += 1;
      return gateway.token({ sub: "member", exp: unix() + 2 });
    },
  });
  const lost = [];
  client.on("connecting", (context) => lost.push(context));
  const subscription = await listener(gateway, client, name, {
    getToken: async ({ channel }) => {
      vouched += 1;
      client.emit("vouched");
      return gateway.token({ sub: "member", channel, exp: unix() + 2 });
    },
  });
  subscription.on("subscribing", (context) => lost.push(context));
  await until("renewals", client, "vouched", () => vouched >= 3);
  await within("publish", subscription.publish(encode("still here")));
  await subscription.heard(1);
  assert.ok(logins >= 2, `${logins} logins`);
  assert.deepEqual(lost, []);
  // A token of another room, or of another user, opens nothing.
  for (const claims of [{ sub: "member", channel: "other" }, { sub: "other", channel: `${name}-2` }]) {
    const one = await gateway.connected("member");
    const refused = one.newSubscription(`${name}-2`, { token: gateway.token(claims) });
    const ended = Promise.race([next(refused, "unsubscribed"), next(one, "disconnected")]);
    refused.subscribe();
    const { code } = await ended;
    assert.ok([103, 3500].includes(code), `${code}`);
    one.disconnect();
  }
  client.disconnect();
}

/** A reader that stops reading, in a room whose oldest messages make room: it is told, comes back, and misses nothing. */
async function slowReader() {
  const name = room("patient", "flood");
  const bob = await gateway.connected("bob");
  const slow = await gateway.connected("slow");
  const subscription = await listener(gateway, slow, name);
  const padding = "x".repeat(8000);
  for (const number of numbers(1, 3)) {
    await within("publish", bob.publish(name, encode({ number })));
  }
  await subscription.heard(3);
  const told = next(subscription, "subscribing");
  const [socket] = slow.line.sockets;
  socket.pause();
  for (const number of numbers(4, 150)) {
    await within("publish", bob.publish(name, encode({ number, padding })));
  }
  const back = next(subscription, "subscribed");
  socket.resume();
  assert.equal((await told).code, 2500);
  const { wasRecovering, recovered } = await back;
  assert.deepEqual([wasRecovering, recovered], [true, true]);
  await within("publish", bob.publish(name, encode({ number: 151 })));
  await subscription.heard(151);
  assert.deepEqual(said(subscription).map(({ number }) => number), numbers(1, 151));
  assert.equal(slow.state, "connected", "the session goes on");
  bob.disconnect();
  slow.disconnect();
}

await Promise.all([talk(), history(), recovery("open"), recovery("durable"), serverSide(), refreshes(), slowReader()]);
console.log("conforms");
process.exit(0);
