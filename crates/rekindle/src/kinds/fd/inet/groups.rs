//! Memberships of a socket in multicast groups (ip(7), ipv6(7), RFC 3678).
//!
//! The kernel lists the groups of each interface (/proc/net/igmp, igmp6), not those of a socket; but a socket can be asked for its
//! filter on a group, and says whether it is a member.

use rekindle_sys::socket::get_option;
use rekindle_sys::{Errno, nr};
use rekindle_tracee::{Arg, Batch};
use rustix::fd::BorrowedFd;

/// A membership in the image.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Serialize)]
pub struct Membership {
    /// The group's address: 4 bytes, or 16.
    #[prost(bytes = "vec", tag = "1")]
    pub group: Vec<u8>,
    /// The name of the interface.
    #[prost(string, tag = "2")]
    pub interface: String,
}

// linux/in.h; both levels have these numbers.
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_MSFILTER: i32 = 48;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
/// The length of `struct group_filter` without sources, and where the mode and the number of sources are.
const FILTER: usize = 144;
const MODE_AT: usize = 136;
const SOURCES_AT: usize = 140;
/// `MCAST_EXCLUDE`: everything but what the sources send.
const EXCLUDE: u32 = 0;

/// The groups that a socket is a member of. `EOPNOTSUPP` if it hears chosen sources only.
pub(super) fn of(socket: BorrowedFd<'_>) -> Result<Vec<Membership>, Errno> {
    let mut all = Vec::new();
    for (interface, group) in on_this_machine() {
        let Some(index) = index(socket, &interface) else { continue };
        let mut filter = request(index, &group);
        filter.resize(FILTER, 0);
        let level = if group.len() == 4 { SOL_IP } else { SOL_IPV6 };
        if get_option(socket, level, MCAST_MSFILTER, &mut filter).is_err() {
            continue; // no member, or no socket that could be
        }
        let word =
            |at: usize| filter.get(at..at + 4).and_then(<[u8]>::first_chunk).map(|w| u32::from_ne_bytes(*w));
        if word(MODE_AT) != Some(EXCLUDE) || word(SOURCES_AT) != Some(0) {
            return Err(Errno::OPNOTSUPP);
        }
        all.push(Membership { group, interface });
    }
    Ok(all)
}

fn index(socket: BorrowedFd<'_>, interface: &str) -> Option<u32> {
    rustix::net::netdevice::name_to_index(socket, interface).ok()
}

/// `struct group_req`: the interface's number, and the address as a `struct sockaddr_storage`.
fn request(index: u32, group: &[u8]) -> Vec<u8> {
    let address = super::Address { ip: group.to_vec(), ..super::Address::default() };
    let mut request = index.to_ne_bytes().to_vec();
    request.resize(8, 0);
    request.extend(address.to_bytes());
    request.resize(8 + rekindle_sys::socket::ADDRESS_MAX, 0);
    request
}

/// The groups of all interfaces: the interface's name, and the address.
fn on_this_machine() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut interface = String::new();
    for line in std::fs::read_to_string("/proc/thread-self/net/igmp").unwrap_or_default().lines().skip(1) {
        let mut words = line.split_ascii_whitespace();
        if !line.starts_with('\t') {
            interface = words.nth(1).unwrap_or_default().to_owned();
        } else if let Some(group) = words.next().and_then(|word| u32::from_str_radix(word, 16).ok()) {
            all.push((interface.clone(), group.to_ne_bytes().to_vec()));
        }
    }
    for line in std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default().lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let group = words.get(2).and_then(|word| u128::from_str_radix(word, 16).ok());
        if let (Some(interface), Some(group)) = (words.get(1), group) {
            all.push(((*interface).to_owned(), group.to_be_bytes().to_vec()));
        }
    }
    all
}

/// Refuses what no checkpoint writes.
pub(super) fn check(all: &[Membership]) -> Result<(), String> {
    let sane =
        |one: &Membership| [4, 16].contains(&one.group.len()) && (1..16).contains(&one.interface.len());
    if all.iter().all(sane) { Ok(()) } else { Err("its multicast groups make no sense".into()) }
}

/// The interface that is missing on this machine for a membership.
pub(super) fn missing<'a>(all: &'a [Membership], socket: BorrowedFd<'_>) -> Option<&'a str> {
    all.iter().map(|one| one.interface.as_str()).find(|name| index(socket, name).is_none())
}

/// The steps by which a socket becomes a member again.
pub(super) fn restore(all: &[Membership], via: BorrowedFd<'_>, socket: Arg, batch: &mut Batch) {
    for one in all {
        let request = request(index(via, &one.interface).unwrap_or(0), &one.group);
        let level = if one.group.len() == 4 { SOL_IP } else { SOL_IPV6 };
        let (len, at) = (request.len(), batch.data(&request));
        let args = [socket, level.into(), MCAST_JOIN_GROUP.into(), at.into(), len.into()];
        batch.step(format!("joining a multicast group on {}", one.interface), nr::SETSOCKOPT, args);
    }
}
