//! Every option of a socket that can be read and set again (socket(7), ip(7), ipv6(7), tcp(7), udp(7), raw(7)), as one table.
//!
//! An option is recorded when it differs from that of a fresh socket of the same kind: what a program never set goes on
//! following the settings of the system. Order matters, and the table is in it: `IP_TOS` sets the priority too,
//! `SO_RCVLOWAT` may grow a buffer, and `SO_BUF_LOCK` says at last which sizes are the program's own.
//!
//! Reading none of them changes anything, which is why some are missing: `SO_ERROR` and `TCP_SAVED_SYN` are gone once read.

use crate::error::Error;
use rekindle_sys::socket::{get_option, set_option};
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Arg, Batch};
use std::os::fd::{AsFd, BorrowedFd};

/// When an option is set again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum When {
    /// At once: it takes part in binding, listening and connecting.
    Fresh,
    /// When the socket is what it was: it acts on data, or keeps others from being set.
    Settled,
}

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// An `int`.
    Int,
    /// A structure of this many bytes.
    Bytes(usize),
    /// Up to this many bytes, and none at all unless it was set.
    Some(usize),
    /// An `int` that is set as half of what is read (socket(7), `SO_SNDBUF`), by the call that needs a privilege to exceed
    /// the system's limit.
    Buffer(i32),
}

/// On which sockets an option is the program's, and not the kernel's own note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// On all.
    All,
    /// On those that are no connection, and never were.
    Unconnected,
    /// On those that are no stream: others cannot set it, but have it as a note of the kernel.
    Datagrams,
}

/// What a socket is, as far as options are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Nature {
    /// A stream that is connected, or was.
    Connection,
    /// A stream that never was.
    Idle,
    /// No stream.
    Datagrams,
}

impl On {
    fn holds(self, nature: Nature) -> bool {
        match self {
            All => true,
            Unconnected => nature != Nature::Connection,
            Datagrams => nature == Nature::Datagrams,
        }
    }
}

struct Row(&'static str, i32, i32, Shape, When, On);

/// An option in the image.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its name in the manual pages.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value as getsockopt(2) gives it.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// A classic filter has at most this many instructions of 8 bytes (`BPF_MAXINSNS`, linux/bpf_common.h).
const FILTER_MAX: usize = 4096;
const INSTRUCTION: usize = 8;
const SOL_SOCKET: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_ATTACH_FILTER: i32 = 26;
const FILTER: &str = "SO_ATTACH_FILTER";
const REUSEADDR: &str = "SO_REUSEADDR";
const SO_LOCK_FILTER: i32 = 44;

use On::{All, Datagrams, Unconnected};
use Shape::{Buffer, Bytes, Int, Some as Few};
use When::{Fresh, Settled};

/// Levels and numbers: asm-generic/socket.h, linux/in.h, linux/in6.h, linux/tcp.h, linux/udp.h, linux/icmp.h,
/// linux/netlink.h.
#[rustfmt::skip]
static TABLE: &[Row] = &[
    Row(REUSEADDR,                1,  2, Int, Fresh, All),
    Row("SO_REUSEPORT",           1, 15, Int, Fresh, All),
    Row("SO_DEBUG",               1,  1, Int, Fresh, All),
    Row("SO_DONTROUTE",           1,  5, Int, Fresh, All),
    Row("SO_BROADCAST",           1,  6, Int, Fresh, All),
    Row("SO_KEEPALIVE",           1,  9, Int, Settled, All),
    Row("SO_OOBINLINE",           1, 10, Int, Fresh, All),
    Row("SO_NO_CHECK",            1, 11, Int, Fresh, All),
    Row("SO_LINGER",              1, 13, Bytes(8), Settled, All),
    Row("SO_PASSCRED",            1, 16, Int, Fresh, All),
    Row("SO_RCVTIMEO",            1, 20, Bytes(16), Fresh, All),
    Row("SO_SNDTIMEO",            1, 21, Bytes(16), Fresh, All),
    Row("SO_BINDTODEVICE",        1, 25, Few(16), Fresh, All),
    Row("SO_TIMESTAMP",           1, 29, Int, Settled, All),
    Row("SO_PASSSEC",             1, 34, Int, Fresh, All),
    Row("SO_TIMESTAMPNS",         1, 35, Int, Settled, All),
    Row("SO_MARK",                1, 36, Int, Fresh, All),
    Row("SO_TIMESTAMPING",        1, 37, Bytes(8), Settled, All),
    Row("SO_RXQ_OVFL",            1, 40, Int, Fresh, All),
    Row("SO_WIFI_STATUS",         1, 41, Int, Fresh, All),
    Row("SO_PEEK_OFF",            1, 42, Int, Settled, All),
    Row("SO_NOFCS",               1, 43, Int, Fresh, All),
    Row("SO_SELECT_ERR_QUEUE",    1, 45, Int, Fresh, All),
    Row("SO_BUSY_POLL",           1, 46, Int, Fresh, All),
    Row("SO_MAX_PACING_RATE",     1, 47, Bytes(8), Fresh, All),
    Row("SO_INCOMING_CPU",        1, 49, Int, Fresh, Unconnected),
    Row("SO_ZEROCOPY",            1, 60, Int, Fresh, All),
    Row("SO_TXTIME",              1, 61, Bytes(8), Fresh, All),
    Row("SO_TIMESTAMP_NEW",       1, 63, Int, Settled, All),
    Row("SO_TIMESTAMPNS_NEW",     1, 64, Int, Settled, All),
    Row("SO_TIMESTAMPING_NEW",    1, 65, Bytes(8), Settled, All),
    Row("SO_PREFER_BUSY_POLL",    1, 69, Int, Fresh, All),
    Row("SO_BUSY_POLL_BUDGET",    1, 70, Int, Fresh, All),
    Row("SO_RESERVE_MEM",         1, 73, Int, Fresh, All),
    Row("SO_TXREHASH",            1, 74, Int, Fresh, All),
    Row("SO_RCVMARK",             1, 75, Int, Fresh, All),
    Row("SO_RCVPRIORITY",         1, 82, Int, Fresh, All),
    Row("IPV6_V6ONLY",           41, 26, Int, Fresh, All),
    Row("IP_TOS",                 0,  1, Int, Fresh, All),
    Row("SO_PRIORITY",            1, 12, Int, Fresh, All),
    Row("IP_TTL",                 0,  2, Int, Fresh, All),
    Row("IP_HDRINCL",             0,  3, Int, Fresh, All),
    Row("IP_OPTIONS",             0,  4, Few(40), Fresh, All),
    Row("IP_RECVOPTS",            0,  6, Int, Fresh, All),
    Row("IP_RETOPTS",             0,  7, Int, Fresh, All),
    Row("IP_PKTINFO",             0,  8, Int, Fresh, All),
    Row("IP_MTU_DISCOVER",        0, 10, Int, Fresh, All),
    Row("IP_RECVERR",             0, 11, Int, Fresh, All),
    Row("IP_RECVTTL",             0, 12, Int, Fresh, All),
    Row("IP_RECVTOS",             0, 13, Int, Fresh, All),
    Row("IP_FREEBIND",            0, 15, Int, Fresh, All),
    Row("IP_PASSSEC",             0, 18, Int, Fresh, All),
    Row("IP_TRANSPARENT",         0, 19, Int, Fresh, All),
    Row("IP_RECVORIGDSTADDR",     0, 20, Int, Fresh, All),
    Row("IP_MINTTL",              0, 21, Int, Fresh, All),
    Row("IP_NODEFRAG",            0, 22, Int, Fresh, All),
    Row("IP_CHECKSUM",            0, 23, Int, Fresh, All),
    Row("IP_BIND_ADDRESS_NO_PORT",0, 24, Int, Fresh, All),
    Row("IP_RECVFRAGSIZE",        0, 25, Int, Fresh, All),
    Row("IP_RECVERR_RFC4884",     0, 26, Int, Fresh, All),
    Row("IP_MULTICAST_IF",        0, 32, Bytes(4), Fresh, Datagrams),
    Row("IP_MULTICAST_TTL",       0, 33, Int, Fresh, Datagrams),
    Row("IP_MULTICAST_LOOP",      0, 34, Int, Fresh, All),
    Row("IP_MULTICAST_ALL",       0, 49, Int, Fresh, All),
    Row("IP_UNICAST_IF",          0, 50, Int, Fresh, All),
    Row("IP_LOCAL_PORT_RANGE",    0, 51, Int, Fresh, All),
    Row("IPV6_CHECKSUM",         41,  7, Int, Fresh, All),
    Row("IPV6_UNICAST_HOPS",     41, 16, Int, Fresh, All),
    Row("IPV6_MULTICAST_IF",     41, 17, Int, Fresh, Datagrams),
    Row("IPV6_MULTICAST_HOPS",   41, 18, Int, Fresh, Datagrams),
    Row("IPV6_MULTICAST_LOOP",   41, 19, Int, Fresh, All),
    Row("IPV6_MTU_DISCOVER",     41, 23, Int, Fresh, All),
    Row("IPV6_RECVERR",          41, 25, Int, Fresh, All),
    Row("IPV6_MULTICAST_ALL",    41, 29, Int, Fresh, All),
    Row("IPV6_ROUTER_ALERT_ISOLATE", 41, 30, Int, Fresh, All),
    Row("IPV6_RECVERR_RFC4884",  41, 31, Int, Fresh, All),
    Row("IPV6_FLOWINFO_SEND",    41, 33, Int, Fresh, All),
    Row("IPV6_HDRINCL",          41, 36, Int, Fresh, All),
    Row("IPV6_RECVPKTINFO",      41, 49, Int, Fresh, All),
    Row("IPV6_RECVHOPLIMIT",     41, 51, Int, Fresh, All),
    Row("IPV6_RECVHOPOPTS",      41, 53, Int, Fresh, All),
    Row("IPV6_HOPOPTS",          41, 54, Few(2048), Fresh, All),
    Row("IPV6_RECVRTHDR",        41, 56, Int, Fresh, All),
    Row("IPV6_RTHDR",            41, 57, Few(2048), Fresh, All),
    Row("IPV6_RECVDSTOPTS",      41, 58, Int, Fresh, All),
    Row("IPV6_DSTOPTS",          41, 59, Few(2048), Fresh, All),
    Row("IPV6_RECVPATHMTU",      41, 60, Int, Fresh, All),
    Row("IPV6_DONTFRAG",         41, 62, Int, Fresh, All),
    Row("IPV6_RECVTCLASS",       41, 66, Int, Fresh, All),
    Row("IPV6_TCLASS",           41, 67, Int, Fresh, All),
    Row("IPV6_AUTOFLOWLABEL",    41, 70, Int, Fresh, All),
    Row("IPV6_ADDR_PREFERENCES", 41, 72, Int, Fresh, All),
    Row("IPV6_MINHOPCOUNT",      41, 73, Int, Fresh, All),
    Row("IPV6_RECVORIGDSTADDR",  41, 74, Int, Fresh, All),
    Row("IPV6_TRANSPARENT",      41, 75, Int, Fresh, All),
    Row("IPV6_UNICAST_IF",       41, 76, Int, Fresh, All),
    Row("IPV6_RECVFRAGSIZE",     41, 77, Int, Fresh, All),
    Row("IPV6_FREEBIND",         41, 78, Int, Fresh, All),
    Row("TCP_NODELAY",            6,  1, Int, Settled, All),
    Row("TCP_MAXSEG",             6,  2, Int, Fresh, Unconnected),
    Row("TCP_CORK",               6,  3, Int, Settled, All),
    Row("TCP_KEEPIDLE",           6,  4, Int, Fresh, All),
    Row("TCP_KEEPINTVL",          6,  5, Int, Fresh, All),
    Row("TCP_KEEPCNT",            6,  6, Int, Fresh, All),
    Row("TCP_SYNCNT",             6,  7, Int, Fresh, All),
    Row("TCP_LINGER2",            6,  8, Int, Fresh, All),
    Row("TCP_DEFER_ACCEPT",       6,  9, Int, Fresh, All),
    Row("TCP_WINDOW_CLAMP",       6, 10, Int, Fresh, Unconnected),
    Row("TCP_QUICKACK",           6, 12, Int, Settled, Unconnected),
    Row("TCP_CONGESTION",         6, 13, Few(16), Fresh, All),
    Row("TCP_THIN_LINEAR_TIMEOUTS",6,16, Int, Fresh, All),
    Row("TCP_USER_TIMEOUT",       6, 18, Int, Fresh, All),
    Row("TCP_FASTOPEN",           6, 23, Int, Fresh, Unconnected),
    Row("TCP_NOTSENT_LOWAT",      6, 25, Int, Fresh, All),
    Row("TCP_SAVE_SYN",           6, 27, Int, Fresh, Unconnected),
    Row("TCP_FASTOPEN_CONNECT",   6, 30, Int, Fresh, Unconnected),
    Row("TCP_FASTOPEN_KEY",       6, 33, Few(32), Fresh, Unconnected),
    Row("TCP_FASTOPEN_NO_COOKIE", 6, 34, Int, Fresh, Unconnected),
    Row("TCP_INQ",                6, 36, Int, Fresh, All),
    Row("TCP_TX_DELAY",           6, 37, Int, Fresh, All),
    Row("TCP_RTO_MAX_MS",         6, 44, Int, Fresh, All),
    Row("UDP_CORK",              17,  1, Int, Settled, All),
    Row("UDP_ENCAP",             17,100, Int, Fresh, All),
    Row("UDP_NO_CHECK6_TX",      17,101, Int, Fresh, All),
    Row("UDP_NO_CHECK6_RX",      17,102, Int, Fresh, All),
    Row("UDP_SEGMENT",           17,103, Int, Fresh, All),
    Row("UDP_GRO",               17,104, Int, Fresh, All),
    Row("UDPLITE_SEND_CSCOV",   136, 10, Int, Fresh, All),
    Row("UDPLITE_RECV_CSCOV",   136, 11, Int, Fresh, All),
    Row("ICMP_FILTER",          255,  1, Bytes(4), Fresh, All),
    Row("ICMP6_FILTER",          58,  1, Bytes(32), Fresh, All),
    Row("NETLINK_PKTINFO",      270,  3, Int, Fresh, All),
    Row("NETLINK_BROADCAST_ERROR", 270, 4, Int, Fresh, All),
    Row("NETLINK_NO_ENOBUFS",   270,  5, Int, Fresh, All),
    Row("NETLINK_LISTEN_ALL_NSID", 270, 8, Int, Fresh, All),
    Row("NETLINK_CAP_ACK",      270, 10, Int, Fresh, All),
    Row("NETLINK_EXT_ACK",      270, 11, Int, Fresh, All),
    Row("NETLINK_GET_STRICT_CHK", 270, 12, Int, Fresh, All),
    Row("SO_RCVLOWAT",            1, 18, Int, Fresh, All),
    Row("SO_SNDBUF",              1,  7, Buffer(32), Fresh, All),
    Row("SO_RCVBUF",              1,  8, Buffer(33), Fresh, All),
    Row("SO_BUF_LOCK",            1, 72, Int, Fresh, All),
];

/// What is set by the way when another option is, and must be set back then.
const BY_THE_WAY: &[(&str, &[&str])] =
    &[("SO_PRIORITY", &["IP_TOS"]), ("SO_BUF_LOCK", &["SO_SNDBUF", "SO_RCVBUF"])];

/// The options of a socket that differ from those of a fresh one.
pub(in super::super) fn capture(
    socket: BorrowedFd<'_>,
    fresh: BorrowedFd<'_>,
    nature: Nature,
) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for row in TABLE.iter().filter(|row| row.5.holds(nature)) {
        let Some(value) = row.read(socket)? else { continue };
        if row.read(fresh)?.as_ref() != Some(&value) || is_set_by_the_way(row.0, &records) {
            records.push(Record { name: row.0.to_owned(), value });
        }
    }
    if let Some(value) = filter(socket).map_err(|errno| Error::call("reading a socket's filter", errno))? {
        records.push(Record { name: FILTER.to_owned(), value });
        if rekindle_sys::socket::get_int(socket, SOL_SOCKET, SO_LOCK_FILTER) == Ok(1) {
            records.push(Record { name: "SO_LOCK_FILTER".to_owned(), value: 1_i32.to_ne_bytes().to_vec() });
        }
    }
    Ok(records)
}

fn is_set_by_the_way(name: &str, records: &[Record]) -> bool {
    let others = BY_THE_WAY.iter().find(|(option, _)| *option == name).map_or(&[][..], |(_, others)| others);
    records.iter().any(|record| others.contains(&record.name.as_str()))
}

/// Whether a socket has a filter that cannot be read: one of eBPF (`EACCES`, net/core/filter.c: sk_get_filter).
pub(in super::super) fn has_unreadable_filter(socket: impl AsFd) -> bool {
    filter(socket.as_fd()).is_err_and(|errno| errno == Errno::ACCESS)
}

/// The instructions of the classic filter.
fn filter(socket: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    // Most have none. One that is longer does not fit.
    let mut few = [[0; INSTRUCTION]; 1];
    match rekindle_sys::socket::filter(socket, &mut few) {
        Err(Errno::INVAL) => {}
        count => return count.map(|count| (count != 0).then(|| few[..count].concat())),
    }
    let mut instructions = vec![[0; INSTRUCTION]; FILTER_MAX];
    let count = rekindle_sys::socket::filter(socket, &mut instructions)?;
    Ok((count != 0).then(|| instructions[..count].concat()))
}

impl Row {
    /// The value, `None` where the socket has no such option.
    fn read(&self, socket: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Error> {
        let Row(name, level, option, shape, ..) = self;
        let mut value = vec![0; shape.room()];
        match get_option(socket, *level, *option, &mut value) {
            Ok(len) => value.truncate(len),
            Err(Errno::NOPROTOOPT | Errno::INVAL | Errno::OPNOTSUPP | Errno::NODEV | Errno::NOTCONN) => {
                return Ok(None);
            }
            Err(errno) => return Err(Error::call(format!("reading {name} of a socket"), errno)),
        }
        if matches!(shape, Few(_)) && value.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        Ok(Some(value))
    }

    fn of(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.0 == name)
    }
}

impl Shape {
    fn room(self) -> usize {
        match self {
            Int | Buffer(_) => 4,
            Bytes(len) | Few(len) => len,
        }
    }

    fn fits(self, len: usize) -> bool {
        match self {
            Few(most) => (1..=most).contains(&len),
            exact => exact.room() == len,
        }
    }
}

/// Refuses options that no checkpoint writes.
pub(in super::super) fn check(records: &[Record]) -> Result<(), String> {
    for record in records {
        let len = record.value.len();
        let fits = match record.name.as_str() {
            FILTER => len != 0 && len.is_multiple_of(INSTRUCTION) && len <= FILTER_MAX * INSTRUCTION,
            "SO_LOCK_FILTER" => len == 4,
            name => match Row::of(name) {
                Some(row) => row.3.fits(len),
                None => return Err(format!("this version does not know the option {name}")),
            },
        };
        if !fits {
            return Err(format!("{} has a value of {len} bytes", record.name));
        }
    }
    Ok(())
}

/// The value of an option that is an `int`.
pub(super) fn int(records: &[Record], name: &str) -> Option<i32> {
    let record = records.iter().find(|record| record.name == name)?;
    record.value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}

/// Whether `SO_REUSEADDR` is on.
pub(super) fn reuses_address(records: &[Record]) -> bool {
    int(records, REUSEADDR).is_some_and(|value| value != 0)
}

/// The steps that set options again.
pub(in super::super) fn restore(records: &[Record], when: When, socket: Arg, batch: &mut Batch) {
    for record in records {
        match (record.name.as_str(), Row::of(&record.name)) {
            (FILTER, _) if when == Settled => attach(&record.value, socket, batch),
            ("SO_LOCK_FILTER", _) if when == Settled => {
                set(&record.name, (SOL_SOCKET, SO_LOCK_FILTER), &record.value, socket, batch);
            }
            (_, Some(row)) if row.4 == when => row.restore(&record.value, socket, batch),
            _ => {}
        }
    }
}

impl Row {
    fn restore(&self, value: &[u8], socket: Arg, batch: &mut Batch) {
        let Row(name, level, option, shape, ..) = *self;
        if name == "SO_BUF_LOCK" {
            // Multipath TCP has it, but does not let it be set.
            let (len, value) = (value.len(), batch.data(value));
            let args = [socket, level.into(), option.into(), value.into(), len.into()];
            batch.step_may_fail(name, nr::SETSOCKOPT, args);
            return;
        }
        let Buffer(forced) = shape else {
            return set(name, (level, option), value, socket, batch);
        };
        let bytes = value.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        let half = batch.data(&(bytes / 2).to_ne_bytes());
        // Without the privilege to force it, it is as large as the system allows.
        for option in [option, forced] {
            let args = [socket, level.into(), option.into(), half.into(), 4.into()];
            batch.step_may_fail(name, nr::SETSOCKOPT, args);
        }
    }
}

/// Sets the options of a time on a socket of ours.
pub(super) fn apply(socket: impl AsFd, records: &[Record], when: When) -> Result<(), Errno> {
    let socket = socket.as_fd();
    for record in records {
        match (record.name.as_str(), Row::of(&record.name)) {
            (FILTER, _) if when == Settled => rekindle_sys::socket::set_filter(socket, &record.value)?,
            ("SO_LOCK_FILTER", _) if when == Settled => {
                set_option(socket, SOL_SOCKET, SO_LOCK_FILTER, &record.value)?;
            }
            (_, Some(row)) if row.4 == when => row.apply(socket, &record.value)?,
            _ => {}
        }
    }
    Ok(())
}

/// Sets the sizes of its buffers once more.
pub(super) fn apply_sizes(socket: impl AsFd, records: &[Record]) -> Result<(), Errno> {
    let sizes = ["SO_SNDBUF", "SO_RCVBUF", "SO_BUF_LOCK"];
    for record in records.iter().filter(|record| sizes.contains(&record.name.as_str())) {
        if let Some(row) = Row::of(&record.name) {
            row.apply(socket.as_fd(), &record.value)?;
        }
    }
    Ok(())
}

/// Sets `SO_REUSEADDR` as it was, or clears it.
pub(super) fn apply_reuse(socket: impl AsFd, records: &[Record]) -> Result<(), Errno> {
    let value = int(records, REUSEADDR).unwrap_or(0);
    set_option(socket, SOL_SOCKET, SO_REUSEADDR, &value.to_ne_bytes())
}

impl Row {
    fn apply(&self, socket: BorrowedFd<'_>, value: &[u8]) -> Result<(), Errno> {
        let Row(_, level, option, shape, ..) = *self;
        let Buffer(forced) = shape else { return set_option(socket, level, option, value) };
        let half = value.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes)) / 2;
        set_option(socket, level, option, &half.to_ne_bytes())?;
        let _ = set_option(socket, level, forced, &half.to_ne_bytes()); // as large as the system allows, without it
        Ok(())
    }
}

/// The step that switches the reuse of an address on or off, whatever the program had.
pub(super) fn set_reuse(on: Reuse, socket: Arg, batch: &mut Batch) {
    set(REUSEADDR, (SOL_SOCKET, SO_REUSEADDR), &(on as i32).to_ne_bytes(), socket, batch);
}

/// `SO_REUSEADDR`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// 0
    Off = 0,
    /// 1
    On = 1,
}

fn set(name: &str, (level, option): (i32, i32), value: &[u8], socket: Arg, batch: &mut Batch) {
    let len = value.len();
    let value = batch.data(value);
    let args = [socket, level.into(), option.into(), value.into(), len.into()];
    batch.step(format!("setting {name}"), nr::SETSOCKOPT, args);
}

/// `struct sock_fprog` (linux/filter.h): how many instructions, and where they are.
fn attach(instructions: &[u8], socket: Arg, batch: &mut Batch) {
    let code = batch.data(instructions);
    let mut head = [0; 16];
    head[..2].copy_from_slice(&((instructions.len() / INSTRUCTION) as u16).to_ne_bytes());
    let head = batch.data(&head);
    batch.point_at(head, 8, code);
    let args = [socket, SOL_SOCKET.into(), SO_ATTACH_FILTER.into(), head.into(), 16.into()];
    batch.step("attaching a socket's filter", nr::SETSOCKOPT, args);
}
