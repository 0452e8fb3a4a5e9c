//! Where clients connect, and what they say there.

use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use serde_json::json;

use crate::child::SECRET;
use crate::frames;

/// The room, or channel.
pub(crate) const ROOM: &str = "bench";

/// A place to connect to.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What is said there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// The native protocol, with a login.
    Centrifuge,
    /// Whoever connects is subscribed, and messages are frames as they are.
    Nchan,
}

/// A way for clients.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) place: Place,
    pub(crate) tongue: Tongue,
}

impl Place {
    /// A new connection. A TCP socket goes by the name of a unix one from here on: both read and write alike.
    pub(crate) fn connect(&self) -> UnixStream {
        match self {
            Self::Unix(path) => UnixStream::connect(path).unwrap(),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                UnixStream::from(OwnedFd::from(stream))
            }
        }
    }
}

impl Route {
    /// Opens a session that is not in the room, and publishes.
    pub(crate) fn open_publisher(&self) -> UnixStream {
        self.open(&self.upgrade("/pub"), &connect("publisher", &[]))
    }

    /// Opens a session of the `number`th subscriber, which is in the room.
    pub(crate) fn open_subscriber(&self, number: usize) -> UnixStream {
        self.open(&self.upgrade("/sub"), &self.login(number))
    }

    /// The request for a websocket, which at nchan is for the location `at`.
    pub(crate) fn upgrade(&self, at: &str) -> Vec<u8> {
        let target = if self.tongue == Tongue::Nchan { at } else { "/connection/websocket" };
        let headers = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Real-IP: 192.0.2.1\r\n\
                       X-Request-Id: 0123456789abcdef0123456789abcdef\r\n\r\n";
        format!("GET {target} HTTP/1.1\r\n{headers}").into_bytes()
    }

    /// The frame with which the `number`th subscriber logs in; at nchan nobody does.
    pub(crate) fn login(&self, number: usize) -> Vec<u8> {
        connect(&format!("user-{number:06}"), &[ROOM])
    }

    /// The frame that publishes `message` as the command `id`.
    pub(crate) fn publication(&self, id: u64, message: &[u8]) -> Vec<u8> {
        if self.tongue == Tongue::Nchan {
            return frames::from_client(message);
        }
        let mut command = format!(r#"{{"id":{id},"publish":{{"channel":"{ROOM}","data":"#).into_bytes();
        command.extend_from_slice(message);
        command.extend_from_slice(b"}}");
        frames::from_client(&command)
    }

    fn open(&self, upgrade: &[u8], login: &[u8]) -> UnixStream {
        let mut stream = self.place.connect();
        stream.write_all(upgrade).unwrap();
        let answer = until(&mut stream, |bytes| bytes.ends_with(b"\r\n\r\n"));
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        if self.tongue == Tongue::Centrifuge {
            stream.write_all(login).unwrap();
            let reply = until(&mut stream, is_frame);
            assert!(is_welcome(&reply), "{}", String::from_utf8_lossy(&reply));
        }
        stream
    }
}

/// True when a whole frame has come.
pub(crate) fn is_frame(bytes: &[u8]) -> bool {
    frames::lengths(bytes).is_some_and(|(_, whole)| whole <= bytes.len())
}

/// True when the login was answered as it should be.
pub(crate) fn is_welcome(reply: &[u8]) -> bool {
    reply.windows(9).any(|part| part == b"\"connect\"")
}

/// The frame with which `user` logs in, whose token grants `rooms`.
fn connect(user: &str, rooms: &[&str]) -> Vec<u8> {
    let claims = json!({ "sub": user, "channels": rooms });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let connect = json!({ "id": 1, "connect": { "token": token, "name": "bench" } });
    frames::from_client(connect.to_string().as_bytes())
}

fn until(stream: &mut UnixStream, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while !done(&bytes) {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
    }
    bytes
}
