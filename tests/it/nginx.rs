//! A real nginx on the shipped files, started by the script that `make run` uses.
//!
//! The machine must have nginx (`make test` installs it); without it these tests fail, they are not skipped.

use std::io::BufRead;
use std::io::BufReader;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;

use crate::shipped;

/// Fails the test on a machine without nginx.
pub(crate) fn require_nginx() {
    let found =
        Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin:/usr/local/sbin; command -v nginx"]).output();
    assert!(
        found.unwrap().status.success(),
        "nginx is not installed, and these tests run it: apt-get install nginx"
    );
}

/// A running nginx; it ends with the test.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) http: u16,
    pub(crate) https: u16,
}

impl Nginx {
    /// Starts nginx with its prefix in `directory`; `upstream` is where pillion listens, `syslog` where it takes
    /// log lines, as nginx writes it.
    pub(crate) fn start(directory: &Path, upstream: &Path, syslog: &str) -> Self {
        require_nginx();
        for _ in 0..5 {
            let (http, https) = (free_port(), free_port());
            let mut child = Command::new("sh")
                .arg(shipped::root().join("nginx/trial.sh"))
                .arg(directory)
                .env("TRIAL_SOCKET", upstream)
                .env("TRIAL_SYSLOG", syslog)
                .env("TRIAL_HTTP_PORT", http.to_string())
                .env("TRIAL_HTTPS_PORT", https.to_string())
                .env("TRIAL_LOG_LEVEL", "notice")
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap());
            if ready(&mut said) {
                // Whatever else it says must be read, or it would block on a full pipe.
                thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                return Self { child, http, https };
            }
            child.wait().unwrap();
        }
        panic!("nginx did not start, five times");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("nginx is our child and not waited for");
        self.child.wait().expect("nginx ends on SIGTERM");
    }
}

/// A port that was free a moment ago; nginx is tried again with another when somebody was faster.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Its sockets are bound before it starts the first worker, and it says so.
pub(crate) fn ready(said: &mut impl BufRead) -> bool {
    let mut line = String::new();
    while said.read_line(&mut line).is_ok_and(|size| size > 0) {
        if line.contains("start worker process ") {
            return true;
        }
        line.clear();
    }
    false
}
