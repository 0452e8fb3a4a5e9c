// What the scripts that drive a gateway with the published Centrifuge SDK have in common.
import { createHmac } from "node:crypto";
import { Centrifuge as Json } from "centrifuge";
import { Centrifuge as Protobuf } from "centrifuge/build/protobuf";
import WebSocket from "ws";

const PATIENCE = 20_000;

/** The promise, or an error that says what did not happen. */
export function within(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`did not happen: ${what}`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The next event of this name, that fits. */
export function next(emitter, event, fits = () => true) {
  const found = new Promise((resolve) => {
    const look = (context) => {
      if (fits(context)) {
        emitter.removeListener(event, look);
        resolve(context);
      }
    };
    emitter.on(event, look);
  });
  return within(event, found);
}

/** Resolves as soon as `holds` does, looked at whenever `emitter` tells of `event`. */
export async function until(what, emitter, event, holds) {
  while (!holds()) {
    await within(what, new Promise((resolve) => emitter.once(event, resolve)));
  }
}

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A signed token. */
export function token(secret, claims) {
  const signed = `${base64url({ alg: "HS256", typ: "JWT" })}.${base64url(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

export const unix = () => Math.floor(Date.now() / 1000);

/** A gateway on a unix socket, spoken to in one encoding. */
export class Gateway {
  constructor(path, encoding, secret) {
    this.path = path;
    this.secret = secret;
    this.made = encoding === "protobuf" ? Protobuf : Json;
    this.binary = encoding === "protobuf";
  }

  /** A value as the encoding takes it, and back. */
  encode = (value) => (this.binary ? new TextEncoder().encode(JSON.stringify(value)) : value);
  decode = (data) => (this.binary ? JSON.parse(new TextDecoder().decode(data)) : data);

  token = (claims) => token(this.secret, claims);

  /** A client of `user`, with a line that can be cut. */
  client(user, options = {}) {
    const { path } = this;
    const line = { sockets: new Set(), isCut: false };
    line.cut = () => {
      line.isCut = true;
      line.sockets.forEach((socket) => socket.terminate());
    };
    line.mend = () => {
      line.isCut = false;
    };
    class Socket extends WebSocket {
      constructor(address, protocols) {
        const { pathname, search } = new URL(address);
        super(`ws+unix:${line.isCut ? `${path}.cut` : path}:${pathname}${search}`, protocols);
        line.sockets.add(this);
        this.on("close", () => line.sockets.delete(this));
        // The SDK has a way of its own to learn that a socket does not open.
        this.on("error", () => {});
      }
    }
    const client = new this.made("ws://gateway/connection/websocket", {
      websocket: Socket,
      token: this.token({ sub: user }),
      minReconnectDelay: 20,
      maxReconnectDelay: 100,
      ...options,
    });
    client.line = line;
    return client;
  }

  /** A client that is connected. */
  async connected(user, options = {}) {
    const client = this.client(user, options);
    const connected = next(client, "connected");
    client.connect();
    client.context = await connected;
    return client;
  }
}

/** A subscription that keeps what it hears; `subscribed` resolves when it is first in the room. */
export function listener(gateway, client, room, options = {}) {
  const subscription = client.newSubscription(room, { minResubscribeDelay: 20, maxResubscribeDelay: 100, ...options });
  subscription.log = [];
  subscription.states = [];
  subscription.on("publication", ({ data, offset }) => {
    subscription.log.push({ data: gateway.decode(data), offset });
    subscription.emit("logged");
  });
  subscription.on("subscribed", (context) => subscription.states.push(context));
  subscription.heard = (count) =>
    until(`${count} publications in ${room}`, subscription, "logged", () => subscription.log.length >= count);
  const subscribed = next(subscription, "subscribed");
  subscription.subscribe();
  return subscribed.then(() => subscription);
}

/** What was heard, without the offsets. */
export const said = ({ log }) => log.map(({ data }) => data);

/** The numbers from one to the other. */
export const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
