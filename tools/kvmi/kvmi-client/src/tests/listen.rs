// SPDX-License-Identifier: MIT OR Apache-2.0

//! Listening: who is let in, and what becomes of the socket's file.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::{MetadataExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use crate::{
    code::Code,
    command::{CheckEvent, Command, GetInfo},
    fake::{Vm, vmm},
    handshake::{Auth, HandshakeError, Key, Step},
    listen::{Address, AddressError, BindError, Config, Listener},
};

/// A folder of a test's own; it goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvmi-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn bind(&self) -> Result<Listener, BindError> {
        Listener::bind(&Address::Unix(self.socket()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn auth() -> Auth {
    Auth::Hmac(Key::new(b"0123456789abcdef".to_vec()).unwrap())
}

/// A VMM that offers a VM with `vcpus` vCPUs, and plays it; whether it was taken.
fn vm(path: &Path, name: &str, auth: Auth, vcpus: u16) -> thread::JoinHandle<bool> {
    let (stream, name) = (UnixStream::connect(path).unwrap(), name.to_owned());
    thread::spawn(move || {
        let Some(mut kernel) = vmm::offer(stream, &name, &auth, b"") else {
            return false;
        };
        let vm = Vm {
            vcpus,
            ..Vm::default()
        };
        vm.serve(&mut kernel);
        true
    })
}

#[test]
fn several_vms_and_a_stranger_at_once() {
    let folder = Folder::new("several");
    let listener = folder.bind().unwrap();
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    let (seen, results) = mpsc::channel();
    // All are there before any is let in, and each session lives until all have arrived.
    let vmms = [
        vm(&folder.socket(), "one", auth(), 1),
        vm(&folder.socket(), "evil", Auth::None, 1),
        vm(&folder.socket(), "two", auth(), 2),
    ];
    let server = thread::spawn(move || {
        let together = std::sync::Barrier::new(2);
        listener.serve(&Config::new(auth()), stop.as_fd(), |arrival| {
            let result = arrival.map(|mut vm| {
                together.wait();
                let info = vm.session.call(GetInfo).unwrap();
                together.wait();
                (vm.peer.name, info.vcpu_count)
            });
            seen.send(result).unwrap();
        })
    });
    let mut results: Vec<_> = (0..3).map(|_| results.recv().unwrap()).collect();
    stopper.write_all(b"x").unwrap();
    server.join().unwrap().unwrap();
    let stranger = results.iter().position(Result::is_err).unwrap();
    let error = results.remove(stranger).unwrap_err();
    assert!(
        matches!(error, HandshakeError::Closed(Step::Challenge)),
        "{error:?}"
    );
    let mut names: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    names.sort();
    assert_eq!(names, [("one".into(), 1), ("two".into(), 2)]);
    assert_eq!(vmms.map(|vmm| vmm.join().unwrap()), [true, false, true]);
    assert!(!folder.socket().exists(), "the file goes with the listener");
}

#[test]
fn so_many_and_no_more() {
    let folder = Folder::new("count");
    let listener = folder.bind().unwrap();
    let (stop, _stopper) = UnixStream::pair().unwrap();
    let config = Config {
        count: Some(1),
        ..Config::new(auth())
    };
    // Whoever fails does not count, and lets the next try.
    let stranger = UnixStream::connect(folder.socket()).unwrap();
    drop(stranger);
    let vmms = [(); 2].map(|()| vm(&folder.socket(), "one", auth(), 1));
    let (seen, results) = mpsc::channel();
    listener
        .serve(&config, stop.as_fd(), |arrival| {
            // Soon nobody can connect any more.
            while arrival.is_ok() && UnixStream::connect(folder.socket()).is_ok() {}
            seen.send(arrival.is_ok()).unwrap();
        })
        .unwrap();
    drop(seen);
    let results: Vec<_> = results.iter().collect();
    assert_eq!(results, [false, true]);
    let taken = vmms.map(|vmm| vmm.join().unwrap());
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
}

#[test]
fn handshakes_are_bounded() {
    let folder = Folder::new("bounded");
    let listener = folder.bind().unwrap();
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    let config = Config {
        handshakes: 1,
        ..Config::new(auth())
    };
    let mut silent = UnixStream::connect(folder.socket()).unwrap();
    let (seen, results) = mpsc::channel();
    let vmm = vm(&folder.socket(), "patient", auth(), 1);
    let server = thread::spawn(move || {
        listener.serve(&config, stop.as_fd(), |arrival| {
            seen.send(arrival.map(|vm| vm.peer.name)).unwrap();
        })
    });
    // The silent one comes first, and what it has said shows that nobody else was heard.
    silent.write_all(&vmm::hello("silent")).unwrap();
    let mut offer = [0; 64];
    silent.read_exact(&mut offer).unwrap();
    assert!(results.try_recv().is_err());
    drop(silent);
    let first = results.recv().unwrap();
    assert!(matches!(first, Err(HandshakeError::Closed(_))), "{first:?}");
    assert_eq!(results.recv().unwrap().unwrap(), "patient");
    stopper.write_all(b"x").unwrap();
    server.join().unwrap().unwrap();
    assert!(vmm.join().unwrap());
}

#[test]
fn stopping_ends_handshakes() {
    let folder = Folder::new("stopping");
    let listener = folder.bind().unwrap();
    let (stop, stopper) = UnixStream::pair().unwrap();
    let mut silent = UnixStream::connect(folder.socket()).unwrap();
    silent.write_all(&vmm::hello("silent")).unwrap();
    let (seen, results) = mpsc::channel();
    let server = thread::spawn(move || {
        listener.serve(&Config::new(auth()), stop.as_fd(), |arrival| {
            seen.send(arrival.map(|vm| vm.peer.name)).unwrap();
        })
    });
    silent.read_exact(&mut [0; 64]).unwrap();
    drop(stopper);
    server.join().unwrap().unwrap();
    let result = results.recv().unwrap();
    assert!(matches!(result, Err(HandshakeError::Stopped)), "{result:?}");
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_vmm_may_allow_late() {
    let folder = Folder::new("late");
    let listener = folder.bind().unwrap();
    let (stop, _stopper) = UnixStream::pair().unwrap();
    let config = Config {
        count: Some(1),
        ..Config::new(Auth::None)
    };
    let stream = UnixStream::connect(folder.socket()).unwrap();
    let vmm = thread::spawn(move || {
        let mut kernel = vmm::offer(stream, "one", &Auth::None, b"").unwrap();
        for answer in [Err(Code::EPERM), Err(Code::EPERM), Ok(Vec::new())] {
            let command = kernel.message();
            assert_eq!(command.id, CheckEvent::ID);
            kernel.reply(&command, answer);
        }
        let vm = Vm {
            vcpus: 3,
            ..Vm::default()
        };
        vm.serve(&mut kernel);
    });
    listener
        .serve(&config, stop.as_fd(), |arrival| {
            let info = arrival.unwrap().session.call(GetInfo).unwrap();
            assert_eq!(info.vcpu_count, 3);
        })
        .unwrap();
    vmm.join().unwrap();
}

#[test]
fn the_file_is_for_this_user() {
    let folder = Folder::new("mode");
    let _listener = folder.bind().unwrap();
    let mode = fs::metadata(folder.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_living_listener_is_left_alone() {
    let folder = Folder::new("living");
    let first = folder.bind().unwrap();
    let before = fs::metadata(folder.socket()).unwrap().ino();
    let error = folder.bind().unwrap_err();
    assert!(matches!(error, BindError::Taken(_)), "{error:?}");
    assert!(error.fix().is_some());
    assert_eq!(fs::metadata(folder.socket()).unwrap().ino(), before);
    drop(first);
    assert!(!folder.socket().exists());
}

#[test]
fn what_a_dead_listener_left_is_replaced() {
    let folder = Folder::new("dead");
    drop(UnixListener::bind(folder.socket()).unwrap());
    assert!(folder.socket().exists());
    let listener = folder.bind().unwrap();
    UnixStream::connect(folder.socket()).unwrap();
    drop(listener);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let folder = Folder::new("file");
    fs::write(folder.socket(), "precious").unwrap();
    let error = folder.bind().unwrap_err();
    assert!(matches!(error, BindError::NotSocket(_)), "{error:?}");
    assert_eq!(fs::read(folder.socket()).unwrap(), b"precious");
}

#[test]
fn another_listeners_file_is_not_removed() {
    let folder = Folder::new("another");
    let listener = folder.bind().unwrap();
    fs::remove_file(folder.socket()).unwrap();
    let _other = UnixListener::bind(folder.socket()).unwrap();
    drop(listener);
    assert!(folder.socket().exists());
}

#[test]
fn where_nothing_can_be_bound() {
    let folder = Folder::new("nowhere");
    for path in [folder.0.join("none/socket"), folder.0.join("x".repeat(200))] {
        let error = Listener::bind(&Address::Unix(path.clone())).unwrap_err();
        assert!(matches!(error, BindError::Os(..)), "{error:?}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn addresses() {
    let unix = Address::Unix("/run/a:b".into());
    assert_eq!("unix:/run/a:b".parse(), Ok(unix.clone()));
    assert_eq!(unix.to_string(), "unix:/run/a:b");
    assert_eq!("vsock:1234".parse(), Ok(Address::Vsock(1234)));
    assert_eq!(Address::Vsock(1234).to_string(), "vsock:1234");
    for text in [
        "",
        "unix:",
        "/run/x",
        "vsock:",
        "vsock:-1",
        "vsock:4294967295",
        "tcp:1",
    ] {
        assert_eq!(text.parse::<Address>(), Err(AddressError), "{text}");
    }
}
