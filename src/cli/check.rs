//! `pillion check`: is the configuration right, and is the host ready for it?

use crate::cli::Configured;
use crate::cli::Exit;
use crate::cli::complain;
use crate::cli::say;
use crate::host;
use crate::host::Host;

/// Prints every mistake, or that there is none and what to know.
pub(super) fn check(configured: &Configured) -> Exit {
    let loaded = match configured.load() {
        Ok(loaded) => loaded,
        Err(unloaded) => return unloaded.complain(),
    };
    for notice in &loaded.notices {
        complain(&format!("note: {notice}"));
    }
    for warning in host::warnings(&Host::read(), &loaded.config) {
        complain(&format!("warning: {warning}"));
    }
    say("the configuration is right\n")
}
