//! What the image says of terminals.

/// What is particular to a description of a terminal.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Which end of which terminal: an [`End`].
    #[prost(enumeration = "End", tag = "1")]
    pub end: i32,
    /// The index of the pseudo-terminal: N in /dev/pts/N.
    #[prost(uint32, tag = "2")]
    pub index: u32,
    /// All that the two ends have in common; in the record of the master.
    #[prost(message, optional, tag = "3")]
    pub pair: Option<Pair>,
    /// The settings of a terminal that is not part of the program.
    #[prost(message, optional, tag = "4")]
    pub outer: Option<Settings>,
}

/// What a description of a terminal leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum End {
    /// A terminal that is not part of the program.
    Outer = 0,
    /// The end that a terminal emulator has.
    Master = 1,
    /// The end that programs have.
    Slave = 2,
    /// A slave that has been hung up: it reads nothing, and takes nothing.
    HungUp = 3,
}

/// The settings of a terminal.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Settings {
    /// `struct termios2` as `TCGETS2` has it.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::size")]
    pub modes: Vec<u8>,
    /// Rows of characters.
    #[prost(uint32, tag = "2")]
    pub rows: u32,
    /// Columns of characters.
    #[prost(uint32, tag = "3")]
    pub columns: u32,
    /// Width in pixels.
    #[prost(uint32, tag = "4")]
    pub width: u32,
    /// Height in pixels.
    #[prost(uint32, tag = "5")]
    pub height: u32,
}

/// A pseudo-terminal of the program: both ends.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Pair {
    /// Its settings.
    #[prost(message, required, tag = "1")]
    pub settings: Settings,
    /// Whether a slave is open: a [`Slave`].
    #[prost(enumeration = "Slave", tag = "2")]
    pub slave: i32,
    /// The slave cannot be opened yet (`TIOCSPTLCK`).
    #[prost(bool, tag = "3")]
    pub locked: bool,
    /// The master is in packet mode (`TIOCPKT`).
    #[prost(bool, tag = "4")]
    pub packets: bool,
    /// The slave cannot be opened again (`TIOCEXCL`).
    #[prost(bool, tag = "5")]
    pub exclusive: bool,
    /// Owner of /dev/pts/N.
    #[prost(uint32, tag = "6")]
    pub uid: u32,
    /// Group of it.
    #[prost(uint32, tag = "7")]
    pub gid: u32,
    /// Permissions of it.
    #[prost(uint32, tag = "8")]
    pub mode: u32,
    /// What has been written and not been read.
    #[prost(message, required, tag = "9")]
    pub unread: Unread,
}

/// What there is of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Slave {
    /// It has not been opened yet: the master waits.
    Fresh = 0,
    /// It is open.
    Open = 1,
    /// It has been closed: the master gets EIO.
    Closed = 2,
}

/// What is on its way between the ends.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Unread {
    /// What the master has not read.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::size")]
    pub output: Vec<u8>,
    /// What the slave has not read.
    #[prost(message, repeated, tag = "2")]
    pub input: Vec<Piece>,
    /// Output is stopped (Ctrl-S).
    #[prost(bool, tag = "3")]
    pub stopped: bool,
}

/// What one read of a terminal gives.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Piece {
    /// The bytes.
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "crate::json::size")]
    pub bytes: Vec<u8>,
    /// What ends it: a `PieceEnd`.
    #[prost(enumeration = "PieceEnd", tag = "2")]
    pub end: i32,
}

/// What ends a piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PieceEnd {
    /// Nothing: what is typed next belongs to it.
    Open = 0,
    /// Its last byte, a newline or another one that ends a line.
    Line = 1,
    /// Ctrl-D, which is not among its bytes.
    EndOfFile = 2,
}
