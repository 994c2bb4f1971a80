//! Rules of nf_tables that drop the packets of certain connections, spoken over netlink (linux/netfilter/nf_tables.h).
//!
//! ```text
//! table inet NAME
//!   set in4  { peer address . own address . ports }     chain input   hook input   priority 150:  @in4, @in6   drop
//!   set in6                                              chain output  hook output  priority -300: @out4, @out6 drop
//!   set out4 { own address . peer address . ports }
//!   set out6
//! ```
//!
//! At these places packets have the addresses that the socket knows, whatever is translated (NAT) around them: incoming ones
//! after, outgoing ones before it. Everything is done in one transaction, or nothing. A message is
//!
//! ```text
//! nlmsghdr  length u32 │ type u16 │ flags u16 │ sequence u32 │ port u32
//!   nfgenmsg  family u8 │ version u8 │ resource u16
//!     nlattr  length u16 │ type u16 │ payload, padded to 4; numbers are big-endian
//! ```

use super::record::Address;
use rekindle_sys::Errno;
use rustix::fd::OwnedFd;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The two ends of a connection as its socket has them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    /// Its own.
    pub local: Address,
    /// The other's.
    pub peer: Address,
}

impl Ends {
    /// What a connection is known by, however its addresses are written: its own end, and the other.
    pub(super) fn as_here(&self) -> (Address, Address) {
        (self.local.plain(), self.peer.plain())
    }

    /// What the same connection is known by at its other end.
    pub(super) fn as_beyond(&self) -> (Address, Address) {
        (self.peer.plain(), self.local.plain())
    }
}

/// How long a table lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// As long as the socket that made it is open: the kernel removes it when we die (`NFT_TABLE_F_OWNER`, Linux 5.12).
    Ours,
    /// Until it is removed; what it drops it drops no longer than this.
    Lasting(Duration),
}

/// A connection to the kernel's nf_tables.
pub(super) struct Tables {
    socket: OwnedFd,
    sequence: u32,
}

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NFTABLES: u16 = 10; // NFNL_SUBSYS_NFTABLES
const INET: u8 = 1; // NFPROTO_INET

mod message {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const GET_TABLE: u16 = 1;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const NEW_ELEMENTS: u16 = 12;
    /// Linux 6.3: as the deleting of a table, and content when there is none.
    pub(super) const DESTROY_TABLE: u16 = 26;
}

/// An address family's set: its name's suffix, where addresses lie in a packet and how long two of them are, and the protocol.
struct Family {
    suffix: &'static str,
    protocol: u8,
    addresses_at: u32,
    addresses_len: u32,
}

const FAMILIES: [Family; 2] = [
    Family { suffix: "4", protocol: 2, addresses_at: 12, addresses_len: 8 }, // NFPROTO_IPV4
    Family { suffix: "6", protocol: 10, addresses_at: 8, addresses_len: 32 }, // NFPROTO_IPV6
];

/// A chain: its name, hook (linux/netfilter.h: `NF_INET_*`), priority, and the prefix of its sets.
const CHAINS: [(&str, u32, i32, &str); 2] = [("input", 1, 150, "in"), ("output", 3, -300, "out")];

impl Tables {
    /// Opens it. `EPROTONOSUPPORT` without netfilter.
    pub(super) fn open() -> Result<Self, Errno> {
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 1 })
    }

    /// Makes a table that drops all packets of these connections, in both directions. `EPERM` without `CAP_NET_ADMIN`,
    /// `EEXIST` if there is one of that name.
    pub(super) fn drop_packets_of(&mut self, name: &str, life: Life, all: &[Ends]) -> Result<(), Errno> {
        let mut batch = Messages::begin();
        let flags = match life {
            Life::Ours => 2_u32,
            Life::Lasting(_) => 0,
        };
        batch.add(message::NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL, |attrs| {
            attrs.text(1, name).number(2, flags);
        });
        for (chain, hook, priority, prefix) in CHAINS {
            batch.add(message::NEW_CHAIN, NLM_F_CREATE, |attrs| {
                attrs.text(1, name).text(3, chain).text(7, "filter").nest(4, |attrs| {
                    attrs.number(1, hook).number(2, priority.cast_unsigned());
                });
            });
            for family in &FAMILIES {
                let set = format!("{prefix}{}", family.suffix);
                add_set(&mut batch, name, &set, family, life);
                add_rule(&mut batch, name, chain, &set, family);
            }
        }
        add_elements(&mut batch, name, all);
        self.transact(batch)
    }

    /// Removes tables; those that are not there are no error.
    pub(super) fn remove(&mut self, names: &[&str]) -> Result<(), Errno> {
        let mut batch = Messages::begin();
        for name in names {
            batch.add(message::DESTROY_TABLE, 0, |attrs| {
                attrs.text(1, name);
            });
        }
        self.transact(batch)
    }

    /// The names of all tables of our family.
    pub(super) fn names(&mut self) -> Result<Vec<String>, Errno> {
        const NLM_F_DUMP: u16 = 0x300;
        const NLMSG_DONE: u32 = 3;
        let mut request = Messages { bytes: Vec::new(), count: 0 };
        let kind = NFTABLES << 8 | message::GET_TABLE;
        request.message(kind, NLM_F_REQUEST | NLM_F_DUMP, INET, 0, |_| {});
        let ours = self.sequence;
        self.sequence += 1;
        request.bytes[8..12].copy_from_slice(&ours.to_ne_bytes());
        send(&self.socket, &request.bytes, SendFlags::empty())?;
        let mut names = Vec::new();
        loop {
            let mut buffer = vec![0_u8; 1 << 16];
            let (len, _) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = &buffer[..len];
            while !rest.is_empty() {
                let word = |at: usize| {
                    rest.get(at..at + 4)
                        .and_then(<[u8]>::first_chunk)
                        .map_or(0, |word| u32::from_ne_bytes(*word))
                };
                let (len, kind, sequence) = (word(0) as usize, word(4) & 0xffff, word(8));
                // Answers to a transaction that failed may still be there.
                match kind {
                    _ if sequence != ours => {}
                    NLMSG_DONE => return Ok(names),
                    kind if kind == u32::from(NLMSG_ERROR) => {
                        return Err(Errno::from_raw_os_error(-word(16).cast_signed()));
                    }
                    _ => {
                        // The name is the first attribute.
                        let attribute = (word(20) & 0xffff) as usize;
                        let name = rest.get(24..20 + attribute).unwrap_or_default();
                        names.push(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
                    }
                }
                rest = rest.get(len.max(16).next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// Sends a transaction and waits for the answers to all its messages.
    fn transact(&mut self, batch: Messages) -> Result<(), Errno> {
        let (bytes, count) = batch.end(self.sequence);
        let first = self.sequence;
        self.sequence += count;
        // It must go in one piece. Without the right to force it, it is as large as it may be.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, bytes.len() * 2);
        send(&self.socket, &bytes, SendFlags::empty())?;
        let (mut answered, mut failed) = (0, None);
        // Each message is acknowledged but the two around them; one that fails ends it all.
        while answered < count - 2 {
            let mut buffer = [0_u8; 16384];
            let (len, _) = recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            for (sequence, errno) in answers(&buffer[..len]) {
                if sequence < first {
                    continue;
                }
                answered += 1;
                if errno != 0 {
                    failed = failed.or(Some(Errno::from_raw_os_error(-errno)));
                }
            }
            if failed.is_some() {
                break;
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The sequence numbers and error numbers of answers.
fn answers(mut bytes: &[u8]) -> impl Iterator<Item = (u32, i32)> {
    std::iter::from_fn(move || {
        loop {
            let word = |at: usize| bytes.get(at..at + 4)?.first_chunk().map(|word| u32::from_ne_bytes(*word));
            let (len, kind, sequence) = (word(0)? as usize, word(4)? as u16, word(8)?);
            let errno = word(16);
            bytes = bytes.get(len.max(16).next_multiple_of(4)..).unwrap_or_default();
            if kind == NLMSG_ERROR {
                return Some((sequence, errno?.cast_signed()));
            }
        }
    })
}

/// A set of the addresses and ports of connections; what is in one that lasts goes away by itself.
fn add_set(batch: &mut Messages, table: &str, set: &str, family: &Family, life: Life) {
    const NFT_SET_TIMEOUT: u32 = 0x10;
    let id = batch.count;
    batch.add(message::NEW_SET, NLM_F_CREATE, |attrs| {
        let flags = if matches!(life, Life::Lasting(_)) { NFT_SET_TIMEOUT } else { 0 };
        attrs.text(1, table).text(2, set).number(3, flags).number(10, id);
        // The type of keys is for readers; its kernel's meaning is bytes.
        attrs.number(4, 0).number(5, family.addresses_len + 4);
        if let Life::Lasting(time) = life {
            attrs.bytes(11, &(time.as_millis() as u64).to_be_bytes());
        }
    });
}

/// `meta nfproto FAMILY meta l4proto tcp ADDRESSES . PORTS @SET drop`
fn add_rule(batch: &mut Messages, table: &str, chain: &str, set: &str, family: &Family) {
    const META_PROTOCOL_FAMILY: u32 = 15;
    const META_PROTOCOL: u32 = 16;
    const REGISTER: u32 = 8; // NFT_REG32_00, of 4 bytes
    let is = |attrs: &mut Attributes, key: u32, value: u8| {
        attrs.expression("meta", |attrs| {
            attrs.number(1, REGISTER).number(2, key);
        });
        attrs.expression("cmp", |attrs| {
            attrs.number(1, REGISTER).number(2, 0).nest(3, |attrs| {
                attrs.bytes(1, &[value]);
            });
        });
    };
    let load = |attrs: &mut Attributes, register: u32, base: u32, at: u32, len: u32| {
        attrs.expression("payload", |attrs| {
            attrs.number(1, register).number(2, base).number(3, at).number(4, len);
        });
    };
    batch.add(message::NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, |attrs| {
        attrs.text(1, table).text(2, chain).nest(4, |attrs| {
            is(attrs, META_PROTOCOL_FAMILY, family.protocol);
            is(attrs, META_PROTOCOL, 6);
            load(attrs, REGISTER, 1, family.addresses_at, family.addresses_len);
            load(attrs, REGISTER + family.addresses_len / 4, 2, 0, 4);
            attrs.expression("lookup", |attrs| {
                attrs.text(1, set).number(2, REGISTER);
            });
            attrs.expression("immediate", |attrs| {
                attrs.number(1, 0).nest(2, |attrs| {
                    attrs.nest(2, |attrs| {
                        attrs.number(1, 0); // NF_DROP
                    });
                });
            });
        });
    });
}

/// Connections, in the sets of both directions.
fn add_elements(batch: &mut Messages, table: &str, all: &[Ends]) {
    let mut keys: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for ends in all {
        let (local, peer) = (ends.local.plain(), ends.peer.plain());
        let suffix = if local.ip.len() == 4 { "4" } else { "6" };
        let key = |from: &Address, to: &Address| {
            let ports = [(from.port as u16).to_be_bytes(), (to.port as u16).to_be_bytes()];
            [from.ip.as_slice(), &to.ip, &ports.concat()].concat()
        };
        keys.entry(format!("in{suffix}")).or_default().push(key(&peer, &local));
        keys.entry(format!("out{suffix}")).or_default().push(key(&local, &peer));
    }
    for (set, keys) in keys {
        for some in keys.chunks(ELEMENTS_MAX) {
            batch.add(message::NEW_ELEMENTS, NLM_F_CREATE, |attrs| {
                attrs.text(1, table).text(2, &set).nest(3, |attrs| {
                    for key in some {
                        attrs.nest(1, |attrs| {
                            attrs.nest(1, |attrs| {
                                attrs.bytes(1, key);
                            });
                        });
                    }
                });
            });
        }
    }
}

/// Elements in one message: the length of an attribute has 16 bits.
const ELEMENTS_MAX: usize = 1000;

/// Messages of one transaction.
struct Messages {
    bytes: Vec<u8>,
    count: u32,
}

impl Messages {
    fn begin() -> Self {
        let mut messages = Self { bytes: Vec::new(), count: 0 };
        messages.message(BATCH_BEGIN, NLM_F_REQUEST, 0, NFTABLES, |_| {});
        messages
    }

    fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes)) {
        let flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.message(NFTABLES << 8 | kind, flags, INET, 0, fill);
    }

    /// The whole, with sequence numbers from `first` on, and how many messages it has.
    fn end(mut self, first: u32) -> (Vec<u8>, u32) {
        self.message(BATCH_END, NLM_F_REQUEST, 0, NFTABLES, |_| {});
        let (mut at, mut sequence) = (0, first);
        while let Some(len) = self.bytes.get(at..at + 4).and_then(<[u8]>::first_chunk) {
            let len = u32::from_ne_bytes(*len) as usize;
            self.bytes[at + 8..at + 12].copy_from_slice(&sequence.to_ne_bytes());
            sequence += 1;
            at += len.next_multiple_of(4);
        }
        (self.bytes, self.count)
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        fill: impl FnOnce(&mut Attributes),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        let mut attributes = Attributes(std::mem::take(&mut self.bytes));
        fill(&mut attributes);
        self.bytes = attributes.0;
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        self.count += 1;
    }
}

/// Attributes in the making.
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        self.0.extend(((payload.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    fn number(&mut self, kind: u16, number: u32) -> &mut Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        const NLA_F_NESTED: u16 = 0x8000;
        let start = self.0.len();
        self.bytes(kind | NLA_F_NESTED, &[]);
        fill(self);
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.nest(1, |attrs| {
            attrs.text(1, name).nest(2, fill);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(local: &str, peer: &str) -> Ends {
        let address = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            let ip = match address.ip() {
                std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
                std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            Address { ip, port: address.port().into(), flowinfo: 0, scope: 0 }
        };
        Ends { local: address(local), peer: address(peer) }
    }

    /// Needs root, and passes without.
    #[test]
    fn tables_come_and_go() {
        let name = format!("rekindle-test-{}", std::process::id());
        let mut tables = Tables::open().unwrap();
        let all = [
            ends("127.0.0.1:1", "127.0.0.1:2"),
            ends("[::1]:1", "[::1]:2"),
            ends("[::ffff:127.0.0.1]:3", "[::ffff:127.0.0.1]:4"),
        ];
        match tables.drop_packets_of(&name, Life::Lasting(Duration::from_secs(9)), &all) {
            Err(Errno::PERM) => return,
            made => made.unwrap(),
        }
        assert_eq!(tables.drop_packets_of(&name, Life::Ours, &all), Err(Errno::EXIST));
        assert!(tables.names().unwrap().contains(&name));
        tables.remove(&[&name, "rekindle-test-none"]).unwrap();
        tables.drop_packets_of(&name, Life::Ours, &all).unwrap();
        drop(tables);
        let mut tables = Tables::open().unwrap();
        tables.drop_packets_of(&name, Life::Ours, &all).unwrap();
    }
}
