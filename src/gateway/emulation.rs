//! Commands of clients whose connection leads to them only: each comes by a request of its own.
//!
//! Such a request names its session by a token that only the session's client has got, in the answer to its login. The
//! token is the session's number and a code over it that only this process can make, so that nothing is kept for it;
//! the session's public id, which others see, is of no use. A token counts as long as its session lives.
//!
//! Limit: 64 requests wait for one session; more are refused.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock;
use crate::gateway::Gateway;
use crate::gateway::form::Speech;
use crate::gateway::order::Order;
use crate::wire::centrifuge::Emulation;
use crate::wire::centrifuge::Encoding;

/// Why commands did not reach their session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmulationError {
    /// Another node is named.
    #[error("the node is {this:?}, and the request is for another one: connect again")]
    Node {
        /// This node.
        this: String,
    },
    /// There is no such session.
    #[error("no session has this token: send the session of the connect reply, or connect again")]
    Session,
    /// The session speaks the other encoding.
    #[error("the session speaks {0}")]
    Encoding(&'static str),
    /// Too many requests of the session wait.
    #[error("too much waits for the session: try again later")]
    Busy,
}

/// Makes and checks the tokens of sessions.
pub(super) struct Tokens {
    key: hmac::Key,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Tokens that no other process makes.
    pub(super) fn new() -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key })
    }

    /// The token of a session.
    pub(super) fn token(&self, session: u64) -> String {
        let code = hmac::sign(&self.key, &session.to_be_bytes());
        format!("{session:x}.{}", URL_SAFE_NO_PAD.encode(code))
    }

    /// The session that has this token.
    pub(super) fn session(&self, token: &str) -> Option<u64> {
        let (session, code) = token.split_once('.')?;
        let session = u64::from_str_radix(session, 16).ok()?;
        let code = URL_SAFE_NO_PAD.decode(code).ok()?;
        hmac::verify(&self.key, &session.to_be_bytes(), &code).ok()?;
        Some(session)
    }
}

impl Gateway {
    /// Hands commands to the session that they are for.
    ///
    /// # Errors
    ///
    /// [`EmulationError`]; then nothing has happened.
    pub fn emulate(&self, encoding: Encoding, commands: Emulation) -> Result<(), EmulationError> {
        let shared = &self.shared;
        if !commands.node.is_empty() && commands.node != shared.node {
            return Err(EmulationError::Node { this: shared.node.clone() });
        }
        let link = shared.tokens.session(&commands.session).and_then(|number| shared.registry.number(number));
        let link = link.filter(|link| link.form().is_emulated()).ok_or(EmulationError::Session)?;
        match link.form().encoding().map(Speech::encoding) {
            Some(spoken) if spoken == encoding => {}
            Some(Encoding::Protobuf) => {
                return Err(EmulationError::Encoding(
                    "Protobuf: send Content-Type: application/octet-stream",
                ));
            }
            _ => return Err(EmulationError::Encoding("JSON: send Content-Type: application/json")),
        }
        link.heard(clock::uptime());
        if link.order(Order::Input(commands.frame.into())) { Ok(()) } else { Err(EmulationError::Busy) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_names_its_session_and_no_other() {
        let (ours, theirs) = (Tokens::new().unwrap(), Tokens::new().unwrap());
        for session in [0, 1, u64::MAX] {
            let token = ours.token(session);
            assert_eq!(ours.session(&token), Some(session));
            assert_eq!(theirs.session(&token), None, "another process has another key");
        }
        let token = ours.token(1);
        let (_, code) = token.split_once('.').unwrap();
        for forged in [format!("2.{code}"), format!("1.{}", &code[1..]), "1.".to_owned(), "1".to_owned()] {
            assert_eq!(ours.session(&forged), None, "{forged}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_that_was_not_given_out(text: String) {
            prop_assert_eq!(Tokens::new().unwrap().session(&text), None);
        }
    }
}
