//! What the kernel allows this process, and what a configuration would need.

use std::fs;

use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::address::Address;
use crate::config::Config;

/// Limits of the kernel; `None` where one can not be read, as in some containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// `net.unix.max_dgram_qlen`: datagrams that wait on a unix socket before senders lose or wait.
    pub max_dgram_qlen: Option<u64>,
    /// `net.core.rmem_max`: the largest receive buffer of a socket in bytes.
    pub rmem_max: Option<u64>,
    /// `net.core.somaxconn`: connections that wait to be accepted.
    pub somaxconn: Option<u64>,
    /// The soft limit of open files.
    pub nofile: Option<u64>,
}

/// Datagrams that a burst of log lines from nginx should find room for.
const DGRAM_QLEN: u64 = 512;
/// Connections that arrive at once when nginx has reloaded.
const SOMAXCONN: u64 = 1024;
/// Open files besides connections: listeners, log target, epoll, data files, standard streams.
const OTHER_FILES: u64 = 64;

impl Host {
    /// Asks the kernel.
    #[must_use]
    pub fn read() -> Self {
        Self {
            max_dgram_qlen: sysctl("net/unix/max_dgram_qlen"),
            rmem_max: sysctl("net/core/rmem_max"),
            somaxconn: sysctl("net/core/somaxconn"),
            // No limit is as good as the largest one.
            nofile: Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)),
        }
    }
}

/// What this host will not give a daemon with this configuration, in plain words and with the command that mends it.
#[must_use]
pub fn warnings(host: &Host, config: &Config) -> Vec<String> {
    let listens = |wanted: fn(&Address) -> bool| config.ingest.listen.iter().any(wanted);
    let datagrams = listens(|address| matches!(address, Address::Unixgram(_) | Address::Udp(_)));
    let unix_datagrams = listens(|address| matches!(address, Address::Unixgram(_)));
    let receive_buffer = as_u64(config.ingest.receive_buffer);
    let files = as_u64(config.limits.connections).saturating_add(OTHER_FILES);
    let mut warnings = Vec::new();
    if let Some(length) = host.max_dgram_qlen.filter(|length| unix_datagrams && *length < DGRAM_QLEN) {
        warnings.push(format!(
            "a unix datagram socket holds only {length} log lines before nginx loses the next ones; \
             raise it with: sysctl -w net.unix.max_dgram_qlen={DGRAM_QLEN}"
        ));
    }
    if let Some(bytes) = host.rmem_max.filter(|bytes| datagrams && *bytes < receive_buffer) {
        warnings.push(format!(
            "the kernel gives a socket at most {bytes} bytes and ingest.receive_buffer asks for {receive_buffer}, \
             so bursts of log lines are dropped earlier; raise it with: sysctl -w net.core.rmem_max={receive_buffer}"
        ));
    }
    if let Some(length) =
        host.somaxconn.filter(|length| !config.listen.public.is_empty() && *length < SOMAXCONN)
    {
        warnings.push(format!(
            "only {length} connections can wait to be accepted, and more may arrive at once when nginx reloads; \
             raise it with: sysctl -w net.core.somaxconn={SOMAXCONN}"
        ));
    }
    if let Some(limit) = host.nofile.filter(|limit| *limit < files) {
        warnings.push(format!(
            "this process may open {limit} files and limits.connections needs {files}, so clients beyond that are \
             refused; raise it with: ulimit -n {files}, or LimitNOFILE={files} in the systemd unit"
        ));
    }
    warnings
}

fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOR: Host =
        Host { max_dgram_qlen: Some(10), rmem_max: Some(212_992), somaxconn: Some(128), nofile: Some(1024) };

    #[test]
    fn a_poor_host_is_told_what_to_raise() {
        let warnings = warnings(&POOR, &Config::default());
        let commands: Vec<_> = warnings
            .iter()
            .filter_map(|warning| warning.split_once("with: "))
            .map(|(_, command)| command)
            .collect();
        assert_eq!(
            commands,
            [
                "sysctl -w net.unix.max_dgram_qlen=512",
                "sysctl -w net.core.rmem_max=4194304",
                "sysctl -w net.core.somaxconn=1024",
                "ulimit -n 65600, or LimitNOFILE=65600 in the systemd unit",
            ]
        );
    }

    #[test]
    fn a_limit_that_is_not_used_is_not_mentioned() {
        let mut config = Config::default();
        config.ingest.listen.clear();
        config.listen.public.clear();
        config.limits.connections = 100;
        assert_eq!(warnings(&POOR, &config), Vec::<String>::new());
        config.ingest.listen = vec!["udp:127.0.0.1:5514".parse().unwrap()];
        assert_eq!(warnings(&POOR, &config).len(), 1);
    }

    #[test]
    fn enough_is_enough_and_unknown_is_not_too_little() {
        let config = Config::default();
        let enough = Host {
            max_dgram_qlen: Some(512),
            rmem_max: Some(4 << 20),
            somaxconn: Some(1024),
            nofile: Some(65_536 + 64),
        };
        assert_eq!(warnings(&enough, &config), Vec::<String>::new());
        assert_eq!(warnings(&Host::default(), &config), Vec::<String>::new());
    }

    #[test]
    fn this_host_can_be_asked() {
        assert!(Host::read().nofile.is_some());
    }
}
