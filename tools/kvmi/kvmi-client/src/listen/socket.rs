// SPDX-License-Identifier: MIT OR Apache-2.0

//! The socket that VMMs connect to.

use std::{
    fmt,
    fs::{self, File, Permissions},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::Address;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 64;

/// Any context: the host's, other guests', this machine's own.
const ANY_CID: u32 = u32::MAX;

/// A socket that VMMs connect to. Dropping it closes it, and removes its file.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// Held for its drop.
    _file: Option<SocketFile>,
}

/// Why it is not possible to listen somewhere.
#[derive(Debug)]
pub enum BindError {
    /// Another program listens there.
    Taken(Address),
    /// There is a file, and it is no socket.
    NotSocket(PathBuf),
    /// This kernel has no vsock.
    NoVsock,
    /// A system call failed otherwise.
    Os(Address, io::Error),
}

impl Listener {
    /// Listens at `address`.
    ///
    /// The file of a socket belongs to this user, and nobody else may connect
    /// to it. One that a listener has left which is no more is replaced.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        let (socket, file) = match address {
            Address::Unix(path) => {
                let (socket, file) = bind_file(path)?;
                (socket, Some(file))
            }
            Address::Vsock(port) => (bind_port(*port)?, None),
        };
        let os = |error| BindError::Os(address.clone(), error);
        socket.set_nonblocking(true).map_err(os)?;
        socket.listen(BACKLOG).map_err(os)?;
        Ok(Listener {
            socket,
            _file: file,
        })
    }

    /// A connection; `None` if there is none any more.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((socket, _)) => Ok(Some(UnixStream::from(OwnedFd::from(socket)))),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that is bound to a port of vsock.
fn bind_port(port: u32) -> Result<Socket, BindError> {
    Socket::new(Domain::VSOCK, Type::STREAM, None)
        .and_then(|socket| {
            socket.bind(&SockAddr::vsock(ANY_CID, port))?;
            Ok(socket)
        })
        .map_err(|error| match error.raw_os_error() {
            Some(code) if code == Errno::AFNOSUPPORT.raw_os_error() => BindError::NoVsock,
            _ => BindError::new(Address::Vsock(port), error),
        })
}

/// A socket that is bound to a file.
fn bind_file(path: &Path) -> Result<(Socket, SocketFile), BindError> {
    let os = |error| BindError::new(Address::Unix(path.to_owned()), error);
    // Of several that find the same file of a dead listener, one after another.
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = File::open(folder).map_err(os)?;
    flock(&folder, FlockOperation::LockExclusive).map_err(|errno| os(errno.into()))?;
    make_room(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(os)?;
    socket
        .bind(&SockAddr::unix(path).map_err(os)?)
        .map_err(os)?;
    // Nobody can connect before it listens.
    let file = SocketFile::new(path).map_err(os)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(os)?;
    Ok((socket, file))
}

/// Removes the file that a dead listener has left.
fn make_room(path: &Path) -> Result<(), BindError> {
    let address = || Address::Unix(path.to_owned());
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(BindError::NotSocket(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::new(address(), error)),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|probe| {
        // One whose backlog is full lives too, and is not waited for.
        probe.set_nonblocking(true)?;
        probe.connect(&SockAddr::unix(path)?)
    });
    match probe {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| BindError::new(address(), error))
        }
        Err(error) if error.kind() != ErrorKind::WouldBlock => {
            Err(BindError::new(address(), error))
        }
        _ => Err(BindError::Taken(address())),
    }
}

/// The file of a socket. Dropping it removes the file, if it is the same still.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(SocketFile {
            path: path.to_owned(),
            id: id(path)?,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id) {
            // Somebody else may have removed it meanwhile.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What tells a file from all others.
fn id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl BindError {
    fn new(address: Address, error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => BindError::Taken(address),
            _ => BindError::Os(address, error),
        }
    }

    /// What would help, as one sentence; `None` if nothing is known.
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            BindError::Taken(_) => Some("end it, or listen elsewhere"),
            BindError::NotSocket(_) => Some("remove it, or listen elsewhere"),
            BindError::NoVsock => Some(
                "load vsock and what carries it: vmw_vsock_virtio_transport in a guest, \
                 vhost_vsock on a host",
            ),
            BindError::Os(..) => None,
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Taken(address) => write!(f, "another program listens at {address}"),
            BindError::NotSocket(path) => {
                write!(f, "{} is there, and is no socket", path.display())
            }
            BindError::NoVsock => f.write_str("this kernel has no vsock"),
            BindError::Os(address, error) => write!(f, "{address}: {error}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BindError::Os(_, error) => Some(error),
            _ => None,
        }
    }
}
