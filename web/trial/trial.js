// A chat of one page: the Centrifuge client protocol in JSON, as far as a trial needs it.
"use strict";

const $ = (id) => document.getElementById(id);
const endpoint = location.origin.replace(/^http/, "ws") + "/connection/websocket";
const RETRY_MAX = 8000;

let socket = null;
let room = null;
let nextId = 1;
let retry = 250;
const waiting = new Map();

function show(author, text, system = false) {
  const line = document.createElement("li");
  if (system) {
    line.className = "system";
    line.textContent = text;
  } else {
    const name = document.createElement("b");
    name.textContent = author;
    line.append(name, text);
  }
  $("messages").append(line);
  while ($("messages").childElementCount > 200) $("messages").firstElementChild.remove();
  line.scrollIntoView({ block: "nearest" });
}

function state(text, on) {
  $("state").textContent = text;
  $("state").classList.toggle("on", on);
  $("text").disabled = !on;
  $("say").querySelector("button").disabled = !on;
}

function ask(method, parameters) {
  return new Promise((resolve, reject) => {
    const id = nextId++;
    waiting.set(id, { method, resolve, reject });
    socket.send(JSON.stringify({ id, [method]: parameters }));
  });
}

function receive(reply) {
  if (reply.id) {
    const asked = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (reply.error) asked.reject(new Error(reply.error.message));
    else asked.resolve(reply[asked.method]);
  } else if (reply.push && reply.push.pub) {
    const data = reply.push.pub.data;
    const plain = typeof data === "string" || !data;
    show(plain ? "someone" : String(data.name), plain ? String(data) : String(data.text));
  } else if (!reply.push) {
    socket.send("{}");
  }
}

async function enter() {
  try {
    const session = await ask("connect", { name: "trial", token: $("name").value.trim() });
    $("session").textContent = session.client;
    await ask("subscribe", { channel: room });
    retry = 250;
    state(`in ${room}`, true);
    show("", `You are in ${room}.`, true);
  } catch (error) {
    state(error.message, false);
  }
}

function connect() {
  state("connecting", false);
  const current = new WebSocket(endpoint);
  socket = current;
  current.onopen = enter;
  current.onmessage = (event) => event.data.split("\n").filter(Boolean).forEach((line) => receive(JSON.parse(line)));
  current.onclose = (event) => {
    if (socket !== current) return;
    waiting.clear();
    state(`connection closed (${event.code} ${event.reason || "lost"}), trying again`, false);
    setTimeout(connect, retry * (0.5 + Math.random() / 2));
    retry = Math.min(retry * 2, RETRY_MAX);
  };
}

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  room = $("room").value.trim();
  const former = socket;
  socket = null;
  if (former) former.close();
  connect();
});

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  try {
    await ask("publish", { channel: room, data: { name: $("name").value.trim(), text } });
    $("text").value = "";
  } catch (error) {
    show("", `Not sent: ${error.message}`, true);
  }
});
