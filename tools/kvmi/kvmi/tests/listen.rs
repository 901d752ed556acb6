// SPDX-License-Identifier: GPL-2.0

//! `kvmi listen`, the program itself, with VMMs and kernels that the tests play.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use kvmi_client::{
    fake::{Fake, Vm, vmm},
    handshake::{Auth, Key},
    wire,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const KVMI: &str = env!("CARGO_BIN_EXE_kvmi");
const KEY: &[u8] = b"\x000123456789abcdef\n";
/// More than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// The program while it listens, in a folder of its own.
struct Listener {
    folder: PathBuf,
    process: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Listener {
    /// Starts it, and waits until it listens.
    fn start(name: &str, options: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("kvmi-cli-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("key"), KEY).unwrap();
        let mut process = Command::new(KVMI)
            .args(["listen", "unix:socket", "--key", "key"])
            .args(options)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = process.stdout.take().map(BufReader::new);
        let mut listener = Listener {
            folder,
            process,
            output,
        };
        assert!(listener.line().contains("listening"));
        listener
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.as_mut().unwrap().read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "it ended: {}", self.complaints());
        line.trim_end().to_owned()
    }

    fn object(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    fn complaints(&mut self) -> String {
        let mut text = String::new();
        let mut errors = self.process.stderr.take().unwrap();
        errors.read_to_string(&mut text).unwrap();
        text
    }

    /// A VMM that offers a VM, which `kernel` plays.
    fn offer<T: Send + 'static>(
        &self,
        name: &str,
        kernel: impl FnOnce(&mut Fake) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let stream = UnixStream::connect(self.folder.join("socket")).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let (name, auth) = (name.to_owned(), Auth::Hmac(Key::new(KEY.to_vec()).unwrap()));
        thread::spawn(move || {
            let mut fake =
                vmm::offer(stream, &name, &auth, b"").expect("a tool that proves itself");
            kernel(&mut fake)
        })
    }

    /// Its end: the status, what it printed last, and its complaints.
    fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        let output = self.output.take().unwrap();
        let lines = output.lines().map(Result::unwrap).collect();
        let complaints = self.complaints();
        let status = self.process.wait().unwrap();
        assert!(!self.folder.join("socket").exists(), "it leaves its socket");
        (status, lines, complaints)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn vm(vcpus: u16) -> Vm {
    Vm {
        vcpus,
        pages: [(1, b"0123456789abcdef".repeat(256))].into(),
        ..Vm::default()
    }
}

/// A VM that agrees to everything and sends CR events: one when they are wanted, and one more for
/// each word that comes from the test; how many were answered.
fn traced(kernel: &mut Fake, more: &Receiver<()>) -> u32 {
    let mut answered = 0;
    let send = |kernel: &mut Fake, seq| {
        let data = [3u64, 0x1000, 0x2000].map(u64::to_ne_bytes).concat();
        // A tool that has enough may have gone.
        kernel.try_event(seq, 0, wire::KVMI_VCPU_EVENT_CR as u16, &data);
    };
    while let Some(message) = kernel.try_message() {
        match u32::from(message.id) {
            wire::KVMI_VM_GET_INFO => {
                kernel.reply(&message, Ok([1u64, 0].map(u64::to_ne_bytes).concat()));
            }
            wire::KVMI_VCPU_EVENT => {
                answered += 1;
                if more.recv().is_ok() {
                    send(kernel, answered + 1);
                }
            }
            id => {
                kernel.reply(&message, Ok(Vec::new()));
                if id == wire::KVMI_VCPU_CONTROL_EVENTS {
                    send(kernel, 1);
                }
            }
        }
    }
    answered
}

/// As [`traced`], with one event.
fn one_event(kernel: &mut Fake) -> u32 {
    let (_, more) = mpsc::channel();
    traced(kernel, &more)
}

#[test]
fn one_command_for_each_of_two_vms() {
    let listener = Listener::start("two", &["--count", "2", "--json", "info"]);
    let kernels = [("one", 1), ("two", 2)]
        .map(|(name, vcpus)| listener.offer(name, move |kernel| drop(vm(vcpus).serve(kernel))));
    let (status, lines, complaints) = listener.end();
    // This kernel does not know all that `info` asks.
    assert_eq!(status.code(), Some(1), "{complaints}");
    assert_eq!(complaints.matches(r#"{"vm":""#).count(), 2, "{complaints}");
    let of = |name: &str| {
        let own = lines
            .iter()
            .filter(|line| line.starts_with(&format!(r#"{{"vm":"{name}""#)));
        own.map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
            .collect::<Vec<_>>()
    };
    for name in ["one", "two"] {
        assert_eq!(of(name), ["connected", "ended"]);
    }
    kernels.map(|kernel| kernel.join().unwrap());
}

#[test]
fn bytes_of_two_vms() {
    let listener = Listener::start("read", &["--count", "2", "read", "0x1000", "16"]);
    let kernels =
        ["one", "two"].map(|name| listener.offer(name, |kernel| drop(vm(1).serve(kernel))));
    let (status, lines, complaints) = listener.end();
    assert_eq!((status.code(), complaints.as_str()), (Some(0), ""));
    for name in ["one", "two"] {
        let dump = lines
            .iter()
            .find(|line| line.starts_with(&format!("{name}: 0000")));
        assert!(dump.unwrap().ends_with("0123456789abcdef"), "{lines:?}");
        assert!(
            lines.contains(&format!("{name}: ended with exit code 0")),
            "{lines:?}"
        );
    }
    kernels.map(|kernel| kernel.join().unwrap());
}

#[test]
fn one_that_fails_beside_one_that_lives() {
    let mut listener = Listener::start("fails", &["--json", "trace", "--cr", "3"]);
    let living = listener.offer("living", one_event);
    assert_eq!(listener.object()["event"], "connected");
    let event = listener.object();
    assert_eq!(
        (&event["vm"], &event["event"]),
        (&"living".into(), &"CR".into())
    );
    // Its kernel closes at once.
    let failing = listener.offer("failing", |_| ());
    failing.join().unwrap();
    let events: Vec<_> = (0..2).map(|_| listener.object()).collect();
    assert_eq!(events[0]["event"], "connected");
    assert_eq!(
        (&events[1]["vm"], &events[1]["exit"]),
        (&"failing".into(), &6.into())
    );
    assert!(!living.is_finished(), "the other goes on");
    listener.signal(Signal::INT);
    let (status, lines, _) = listener.end();
    assert_eq!(status.code(), Some(0));
    let last: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&last[0]["event"], &last[0]["reason"]),
        (&"end".into(), &"signal".into())
    );
    assert_eq!(last[0]["events"], 1);
    assert_eq!(
        (&last[1]["event"], &last[1]["how"]),
        (&"ended".into(), &"stopped".into())
    );
    assert_eq!(living.join().unwrap(), 1, "the event was answered");
}

#[test]
fn what_the_first_command_failed_with() {
    let listener = Listener::start("status", &["--count", "1", "translate", "0x5000"]);
    let kernel = listener.offer("web", |kernel| drop(vm(1).serve(kernel)));
    let (status, _, complaints) = listener.end();
    assert_eq!(status.code(), Some(8), "{complaints}");
    assert!(complaints.contains("web: kvmi: "), "{complaints}");
    assert!(
        complaints.contains("the command for web ended with exit code 8"),
        "{complaints}"
    );
    kernel.join().unwrap();
}

#[test]
fn the_vmm_asks_the_tool_to_leave() {
    let listener = Listener::start("unhook", &["--count", "1", "trace", "--cpuid"]);
    let kernel = listener.offer("web", |kernel| {
        let mut ids = Vec::new();
        while let Some(message) = kernel.try_message() {
            ids.push(u32::from(message.id));
            let info = u32::from(message.id) == wire::KVMI_VM_GET_INFO;
            let body = if info {
                [1u64, 0].map(u64::to_ne_bytes).concat()
            } else {
                Vec::new()
            };
            kernel.reply(&message, Ok(body));
            if ids.len() == 3 {
                kernel.send(0, 1, &[0; 8]);
            }
        }
        ids
    });
    let (status, lines, complaints) = listener.end();
    assert_eq!((status.code(), complaints.as_str()), (Some(0), ""));
    let end = lines
        .iter()
        .find(|line| line.ends_with("; the VMM asked to leave"));
    assert!(
        end.is_some_and(|end| end.starts_with("web: 0 events in ")),
        "{lines:?}"
    );
    let events = wire::KVMI_VCPU_CONTROL_EVENTS;
    let (info, vm_events) = (wire::KVMI_VM_GET_INFO, wire::KVMI_VM_CONTROL_EVENTS);
    assert_eq!(kernel.join().unwrap(), [info, vm_events, events, events]);
}

#[test]
fn a_program_gets_the_socket() {
    let script = "echo $KVMI_FD $KVMI_VM_NAME $KVMI_VM_UUID; ls -l /proc/self/fd | grep -c socket:; \
                  \"$0\" --fd 3 translate 0x1000; \"$0\" --fd 3 read 0x1000 16; exit 42";
    let listener = Listener::start("program", &["--count", "1", "--", "sh", "-c", script, KVMI]);
    let kernel = listener.offer("web", |kernel| vm(1).serve(kernel).commands.len());
    let (status, lines, complaints) = listener.end();
    assert_eq!(lines[1], "3 web 77777777-7777-7777-7777-777777777777");
    assert_eq!(lines[2], "1", "the socket, and no other");
    assert_eq!(lines[3], "0x1000", "{complaints}");
    assert!(lines[4].ends_with("0123456789abcdef"), "{lines:?}");
    assert_eq!(status.code(), Some(1));
    assert!(
        complaints.contains("web ended with exit code 42"),
        "{complaints}"
    );
    assert!(kernel.join().unwrap() >= 3, "one session for all");
}

#[test]
fn a_program_that_does_not_exist() {
    let listener = Listener::start("none", &["--count", "1", "--", "./no-such-program"]);
    let kernel = listener.offer("web", |kernel| kernel.try_message().is_none());
    let (status, _, complaints) = listener.end();
    assert_eq!(status.code(), Some(1));
    assert!(complaints.contains("No such file"), "{complaints}");
    assert!(kernel.join().unwrap(), "the VM is let go");
}

#[test]
fn strangers_are_told_and_forgotten() {
    let mut listener = Listener::start(
        "stranger",
        &["--json", "--count", "1", "read", "0x1000", "1"],
    );
    let stream = UnixStream::connect(listener.folder.join("socket")).unwrap();
    let stranger = vmm::offer(stream, "evil", &Auth::None, b"");
    assert!(stranger.is_none());
    let kernel = listener.offer("web", |kernel| drop(vm(1).serve(kernel)));
    assert_eq!(listener.object()["event"], "connected");
    let (status, _, complaints) = listener.end();
    assert_eq!(status.code(), Some(0), "{complaints}");
    let error: Value = serde_json::from_str(complaints.trim_end()).unwrap();
    assert_eq!(error["error"]["exit"], 6);
    kernel.join().unwrap();
}

#[test]
fn a_command_ends_with_its_listener() {
    let mut listener = Listener::start("killed", &["--json", "trace", "--cr", "3"]);
    let kernel = listener.offer("web", one_event);
    assert_eq!(listener.object()["event"], "connected");
    assert_eq!(listener.object()["event"], "CR");
    listener.signal(Signal::KILL);
    assert_eq!(kernel.join().unwrap(), 1, "the session ends");
}

#[test]
fn whoever_reads_the_output_has_enough() {
    let mut listener = Listener::start("enough", &["trace", "--cr", "3"]);
    let (more, wait) = mpsc::sync_channel(0);
    let kernel = listener.offer("web", move |kernel| traced(kernel, &wait));
    assert!(listener.line().contains("connected"));
    assert!(listener.line().contains(" CR "));
    listener.output = None;
    // A program that another test is just starting has the output too, until it is executed.
    thread::spawn(move || while more.send(()).is_ok() {});
    assert_eq!(listener.process.wait().unwrap().code(), Some(0));
    kernel.join().unwrap();
}

#[test]
fn two_listeners_at_one_address() {
    let listener = Listener::start("address", &["info"]);
    let second = Command::new(KVMI)
        .args(["listen", "unix:socket", "info"])
        .current_dir(&listener.folder)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("another program listens"), "{text}");
    listener.signal(Signal::TERM);
    let (status, ..) = listener.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn wrong_uses() {
    for (words, text) in [
        (&["listen", "unix:/x", "--pid", "1", "info"][..], "--pid"),
        (&["listen", "unix:/x", "read", "0"], "<LEN>"),
        (&["listen", "unix:/x", "info", "--pid", "1"], "--pid"),
        (&["listen", "unix:/x", "info", "--fd", "1"], "--fd"),
        (&["--fd", "3", "info", "--pid", "1"], "--pid"),
        (&["--fd", "0", "list"], "`kvmi list`"),
        (&["--fd", "0", "resume"], "`kvmi resume`"),
        (
            &["--fd", "0", "info"],
            "file descriptor 0 is no stream socket",
        ),
        (&["--fd", "77", "info"], "file descriptor 77 is not open"),
    ] {
        let done = Command::new(KVMI)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{words:?}: {errors}");
        assert!(errors.contains(text), "{words:?}: {errors}");
    }
}
