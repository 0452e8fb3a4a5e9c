// Clients of the published Centrifuge SDK while their gateway is killed and started again.
// Usage: node restart.mjs SOCKET json|protobuf SECRET; says "kill" when the gateway is to be killed and started again, and
// "restarted" when all was as it should be. It reads a line when the gateway is there again.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Gateway, listener, next, numbers, said, within } from "./gateway.mjs";

const [path, encoding, secret] = process.argv.slice(2);
const gateway = new Gateway(path, encoding, secret);
const { encode } = gateway;
const lines = createInterface({ input: process.stdin });
const say = (word) => process.stdout.write(`${word}\n`);
/** The gateway is killed, at once, and is there again. */
const restart = async () => {
  const line = once(lines, "line");
  say("kill");
  await within("the gateway is there again", line);
};

const bob = await gateway.connected("bob");
const rooms = { durable: `durable:restart-${encoding}`, memory: `open:restart-${encoding}` };
const away = await gateway.connected("away");
const live = await gateway.connected("live");
const listeners = {};
for (const [kind, room] of Object.entries(rooms)) {
  listeners[kind] = {
    away: await listener(gateway, away, room),
    live: await listener(gateway, live, room),
    bob: await listener(gateway, bob, room),
  };
}
const publish = async (kind, from, to) => {
  for (const number of numbers(from, to)) {
    await within("publish", listeners[kind].bob.publish(encode(number)));
  }
};
for (const kind of ["durable", "memory"]) {
  await publish(kind, 1, 5);
  await listeners[kind].away.heard(5);
}

// What was answered while one was away is there after the kill, where the room is durable; else it is told.
const gone = next(away, "connecting");
away.line.cut();
await gone;
await publish("durable", 6, 30);
await publish("memory", 6, 30);
await listeners.durable.live.heard(30);
const back = Object.values(listeners).map((one) => next(one.live, "subscribed"));
const talker = next(listeners.durable.bob, "subscribed");
const memoryTalker = next(listeners.memory.bob, "subscribed");
await restart();
const [durableLive, memoryLive] = await Promise.all(back);
assert.deepEqual([durableLive.wasRecovering, durableLive.recovered], [true, true]);
assert.deepEqual([memoryLive.wasRecovering, memoryLive.recovered], [true, false]);
await Promise.all([talker, memoryTalker]);
await publish("durable", 31, 35);
await publish("memory", 31, 35);
const returned = Object.values(listeners).map((one) => next(one.away, "subscribed"));
away.line.mend();
const [durableAway, memoryAway] = await Promise.all(returned);
assert.deepEqual([durableAway.wasRecovering, durableAway.recovered], [true, true]);
assert.deepEqual([memoryAway.wasRecovering, memoryAway.recovered], [true, false]);
await listeners.durable.away.heard(35);
await listeners.durable.live.heard(35);
assert.deepEqual(said(listeners.durable.away), numbers(1, 35));
assert.deepEqual(said(listeners.durable.live), numbers(1, 35));
await publish("memory", 36, 36);
await listeners.memory.away.heard(6);
assert.deepEqual(said(listeners.memory.away), [...numbers(1, 5), 36], "nothing of what is gone, and all that follows");

// Killed in the middle of what is said: nobody hears a thing twice or in another order, and without recovered: false nobody
// misses what was answered.
const answered = [];
let stopped = false;
const saying = (async () => {
  for (let number = 36; !stopped; number += 1) {
    try {
      await within("an answer", bob.publish(rooms.durable, encode(number)));
      answered.push(number);
      bob.emit("answered");
    } catch {
      // Cut off: nobody knows whether it was taken. The next number is another message.
      await within("connected again", bob.ready());
    }
  }
})();
await within("some answers", (async () => {
  while (answered.length < 50) {
    await new Promise((resolve) => bob.once("answered", resolve));
  }
})());
const states = [listeners.durable.away, listeners.durable.live];
const again = states.map((one) => next(one, "subscribed"));
const before = answered.length;
await restart();
const contexts = await Promise.all(again);
await within("more answers", (async () => {
  while (answered.length < before + 50) {
    await new Promise((resolve) => bob.once("answered", resolve));
  }
})());
stopped = true;
await saying;
const last = answered.at(-1);
for (const [index, one] of states.entries()) {
  while (said(one).at(-1) < last) {
    await within("the last", new Promise((resolve) => one.once("logged", resolve)));
  }
  const heard = said(one);
  const sorted = [...new Set(heard)].sort((a, b) => a - b);
  assert.deepEqual(heard, sorted, "in order and once");
  const offsets = one.log.map(({ offset }) => offset);
  assert.deepEqual(offsets, [...new Set(offsets)].sort((a, b) => a - b), "offsets grow");
  if (contexts[index].recovered) {
    const missing = answered.filter((number) => !heard.includes(number));
    assert.deepEqual(missing, [], "all that was answered was heard");
  }
}
say("restarted");
process.exit(0);
