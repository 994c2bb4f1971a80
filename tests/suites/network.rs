//! Connections to clients outside of the program: they notice a pause, and nothing else.
//!
//! The program is the subject `tcp_server`, which streams numbered bytes to each client and checks those that it gets; the
//! clients are threads of this process, which do the same.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rekindle_tests::deadline::Deadline;
use rekindle_tests::network::Network;
use rekindle_tests::program::Program;
use rekindle_tests::rekindle::{self, FAULT, checkpoint, checkpoint_and_kill, restore, restore_detached};
use rekindle_tests::scene::Scene;
use rekindle_tests::subjects::{TCP_HALF_CLOSED, TCP_SERVER, TCP_UNACCEPTED};
use rekindle_tests::trial::{Context as _, Trouble, Verdict, needs, needs_root, run_one_at_a_time, trial};
use rekindle_tests::{ensure, fail};
use rustix::process::Pid;

/// How much a client must have moved in each direction to be found alive.
const SOME: u64 = 300_000;

fn main() -> ExitCode {
    run_one_at_a_time(vec![
        trial("network::client", || clients_live_on("127.0.0.1", 1, 5)),
        trial("network::client_ipv6", || clients_live_on("::1", 1, 3)),
        trial("network::client_of_a_mapped_address", || clients_live_on("::ffff:127.0.0.1", 1, 3)),
        trial("network::a_dozen_clients", || clients_live_on("127.0.0.1", 12, 2)),
        trial("network::failed_checkpoints", failed_checkpoints),
        trial("network::failed_restores", failed_restores),
        trial("network::half_closed", half_closed),
        trial("network::given_up", given_up),
        trial("network::redis", redis),
        trial("network::address_that_is_missing", address_that_is_missing),
        trial("network::two_hosts", || over_a_link("10.77.0.1", 1, 20, Link::Good)),
        trial("network::two_hosts_ipv6", || over_a_link("fd77::1", 1, 5, Link::Good)),
        trial("network::two_hosts_with_200_clients", || over_a_link("10.77.0.1", 200, 2, Link::Good)),
        trial("network::two_hosts_and_a_bad_link", || over_a_link("10.77.0.1", 2, 5, Link::LosingPackets)),
        trial("network::client_of_another_host", client_of_another_host),
        trial("network::migration", migration),
        trial("network::in_flight", in_flight),
    ])
}

// ---- the server, and its clients

fn start(address: &str, scene: &Scene) -> Verdict<(Program, u16)> {
    scene.images()?;
    let mut server = Program::start(&TCP_SERVER.executable()?, &[address], scene)?;
    let port = number_behind("port ", &mut server)? as u16;
    ensure!(server.line()? == "save point", "the server does not say that it listens");
    Ok((server, port))
}

fn byte_at(position: u64) -> u8 {
    (position.wrapping_mul(31).wrapping_add(position >> 9) & 0xff) as u8
}

/// A client that streams in both directions in threads of its own.
struct Client {
    stream: TcpStream,
    stop: Arc<AtomicBool>,
    moved: [Arc<AtomicU64>; 2],
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Client {
    fn connect(address: &str, port: u16) -> Verdict<Self> {
        Self::over(TcpStream::connect((address.trim_start_matches("::ffff:"), port))?, Duration::ZERO)
    }

    /// Waits as long after each block, in both directions.
    fn over(stream: TcpStream, pace: Duration) -> Verdict<Self> {
        let (stop, moved): (Arc<AtomicBool>, [Arc<AtomicU64>; 2]) = Default::default();
        let (mut sending, mut receiving) = (stream.try_clone()?, stream.try_clone()?);
        let (stopped, sent, received) = (stop.clone(), moved[0].clone(), moved[1].clone());
        let threads = vec![
            std::thread::spawn(move || send_numbered(&mut sending, &stopped, &sent, pace)),
            std::thread::spawn(move || receive_numbered(&mut receiving, &received, pace)),
        ];
        Ok(Self { stream, stop, moved, threads })
    }

    fn moved(&self) -> [u64; 2] {
        [&self.moved[0], &self.moved[1]].map(|count| count.load(Ordering::SeqCst))
    }

    /// Waits until it has moved some more, both ways.
    fn goes_on(&self, server: Pid) -> Verdict {
        all_go_on(std::slice::from_ref(self), SOME, server)
    }

    fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops sending, and reads to the end.
    fn end(self) -> Verdict {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(why)) => fail!("{why}"),
                Err(_) => fail!("a client has panicked"),
            }
        }
        Ok(())
    }
}

/// Waits until each has moved so much more, both ways. They do so side by side.
fn all_go_on(clients: &[Client], some: u64, server: Pid) -> Verdict {
    let before: Vec<[u64; 2]> = clients.iter().map(Client::moved).collect();
    let goes_on = |(client, before): (&Client, &[u64; 2])| {
        client.has_ended() || client.moved().iter().zip(before).all(|(now, before)| *now >= before + some)
    };
    Deadline::step("the clients to go on")
        .until(&[server], || Ok(clients.iter().zip(&before).all(goes_on).then_some(())))?;
    ensure!(!clients.iter().any(Client::has_ended), "a client has ended");
    Ok(())
}

fn send_numbered(
    stream: &mut TcpStream,
    stop: &AtomicBool,
    sent: &AtomicU64,
    pace: Duration,
) -> Result<(), String> {
    let mut at = 0;
    while !stop.load(Ordering::SeqCst) {
        let block: Vec<u8> = (at..at + 16384).map(byte_at).collect();
        stream.write_all(&block).map_err(|error| format!("sending after {at} bytes: {error}"))?;
        at += block.len() as u64;
        sent.store(at, Ordering::SeqCst);
        if !pace.is_zero() {
            std::thread::sleep(pace);
        }
    }
    stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())
}

fn receive_numbered(stream: &mut TcpStream, received: &AtomicU64, pace: Duration) -> Result<(), String> {
    let (mut at, mut block) = (0, vec![0; 65536]);
    loop {
        let count =
            stream.read(&mut block).map_err(|error| format!("receiving after {at} bytes: {error}"))?;
        if count == 0 {
            return Ok(());
        }
        if let Some(wrong) = (0..count).find(|index| block[*index] != byte_at(at + *index as u64)) {
            return Err(format!("byte {} from the server is wrong", at + wrong as u64));
        }
        at += count as u64;
        received.store(at, Ordering::SeqCst);
        if !pace.is_zero() {
            std::thread::sleep(pace);
        }
    }
}

/// No rule of ours is left that drops packets; where there is no `nft` to tell, the clients that go on do.
fn no_rule_is_left() -> Verdict {
    let Ok(told) = Command::new("nft").args(["list", "tables"]).output() else { return Ok(()) };
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    ensure!(!told.contains("rekindle"), "a table is left: {told}");
    Ok(())
}

// ---- the tests

fn clients_live_on(address: &str, count: usize, rounds: u32) -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let (mut server, port) = start(address, &scene)?;
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(address, port)?);
    }
    for round in 0..rounds {
        let pid = server.pid();
        for client in &clients {
            client.goes_on(pid).context(format!("before round {round}"))?;
        }
        checkpoint_and_kill(&mut server, &scene.image())?;
        server = restore_detached(pid, &scene.image(), &scene)?;
        no_rule_is_left()?;
        for client in &clients {
            client.goes_on(pid).context(format!("round {round}"))?;
        }
    }
    end_all(server, clients)
}

fn end_all(mut server: Program, clients: Vec<Client>) -> Verdict {
    for client in &clients {
        client.stop.store(true, Ordering::SeqCst);
    }
    for client in clients {
        client.end()?;
    }
    server.say("end")?;
    server.finish()
}

/// Whatever ends a checkpoint early, the server goes on with its client, and nothing is in the way of their packets.
fn failed_checkpoints() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let (server, port) = start("127.0.0.1", &scene)?;
    let client = Client::connect("127.0.0.1", port)?;
    for point in ["surveyed-again", "locked", "records-written", "finished", "renamed"] {
        for how in ["error", "kill"] {
            client.goes_on(server.pid())?;
            let mut command = checkpoint(server.pid(), &scene.image(), &["--kill"])?;
            let outcome = rekindle::run(command.env(FAULT, format!("checkpoint-{point}:{how}")))?;
            ensure!(
                !outcome.status.exited() || outcome.status.exit_status() != Some(0),
                "no fault at {point}"
            );
            no_rule_is_left().context(point)?;
            client.goes_on(server.pid()).context(format!("{point}:{how}"))?;
        }
    }
    end_all(server, vec![client])
}

/// A restore that fails leaves the connection to the next one.
fn failed_restores() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let (mut server, port) = start("127.0.0.1", &scene)?;
    let (client, pid) = (Client::connect("127.0.0.1", port)?, server.pid());
    client.goes_on(pid)?;
    checkpoint_and_kill(&mut server, &scene.image())?;
    for point in ["planned", "connected", "opened", "files", "threads", "stopped"] {
        for how in ["error", "kill"] {
            let mut command = restore(&scene.image(), &["--detach"])?;
            let outcome = rekindle::run(command.env(FAULT, format!("restore-{point}:{how}")))?;
            ensure!(
                !outcome.status.exited() || outcome.status.exit_status() != Some(0),
                "no fault at {point}"
            );
            rekindle_tests::program::await_gone(pid)?;
        }
    }
    let server = restore_detached(pid, &scene.image(), &scene)?;
    no_rule_is_left()?;
    client.goes_on(pid)?;
    end_all(server, vec![client])
}

/// Two clients have sent their end, which they do not send again: the server must find it nevertheless. One of them has not
/// read what the server has sent, which has come to its end, too.
fn half_closed() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    scene.images()?;
    let mut server = Program::start(&TCP_HALF_CLOSED.executable()?, &[], &scene)?;
    let port = number_behind("port ", &mut server)?;
    let mut clients = Vec::new();
    for words in ["hello", ""] {
        let mut client = TcpStream::connect(("127.0.0.1", port as u16))?;
        client.write_all(words.as_bytes())?;
        client.shutdown(Shutdown::Write)?;
        clients.push(client);
    }
    let total = number_behind("total ", &mut server)?;
    server.await_save_point()?;
    let pid = server.pid();
    checkpoint_and_kill(&mut server, &scene.image())?;
    let mut server = restore_detached(pid, &scene.image(), &scene)?;
    server.say("go on 0")?;
    let mut bytes = Vec::new();
    clients[1].read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == total, "{} bytes of {total} have come", bytes.len());
    let mut words = String::new();
    clients[0].read_to_string(&mut words)?;
    ensure!(words == "goodbye", "the server says '{words}'");
    server.finish()
}

fn number_behind(word: &str, program: &mut Program) -> Verdict<u64> {
    let line = program.line()?;
    match line.strip_prefix(word).and_then(|number| number.parse().ok()) {
        Some(number) => Ok(number),
        None => fail!("the subject says '{line}', not '{word}'"),
    }
}

/// With `--tcp close` the client sees the server close the connection, and the restored server sees the client do it.
fn given_up() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    let (mut server, port) = start("127.0.0.1", &scene)?;
    let client = Client::connect("127.0.0.1", port)?;
    client.goes_on(server.pid())?;
    let mut command = checkpoint(server.pid(), &scene.image(), &["--kill", "--tcp", "close"])?;
    rekindle::run(&mut command)?.succeeded()?;
    server.await_killed()?;
    no_rule_is_left()?;
    let mut byte = [0];
    let ended = loop {
        match (&client.stream).read(&mut byte) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) => break error.kind() == ErrorKind::ConnectionReset,
        }
    };
    ensure!(ended, "the client was not told");
    let mut server = restore_detached(server.pid(), &scene.image(), &scene)?;
    let fresh = Client::connect("127.0.0.1", port)?;
    fresh.goes_on(server.pid())?;
    fresh.end()?;
    server.say("end")?;
    server.finish()
}

/// A real server and a client that is connected to it all the time.
fn redis() -> Verdict {
    needs_root()?;
    let mut places = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].into_iter().map(Path::new);
    let Some(server) = places.find(|path| path.exists()) else {
        return needs(false, "redis-server");
    };
    let scene = Scene::new()?;
    scene.images()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--logfile", "log"];
    let mut server = Program::start(server, &arguments, &scene)?;
    let pid = server.pid();
    let connect = || Ok(TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    let mut client = Deadline::step("redis to listen").until(&[pid], connect)?;
    for round in 1..=3 {
        ensure!(ask(&mut client, "INCR rounds")? == format!(":{round}\r\n"), "redis has lost count");
        checkpoint_and_kill(&mut server, &scene.image())?;
        server = restore_detached(pid, &scene.image(), &scene)?;
    }
    let mut other = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    ensure!(ask(&mut other, "INCR rounds")? == ":4\r\n", "a new client finds another count");
    ensure!(ask(&mut client, "PING")? == "+PONG\r\n", "redis does not answer any more");
    Ok(())
}

fn ask(client: &mut TcpStream, words: &str) -> Verdict<String> {
    client.write_all(format!("{words}\r\n").as_bytes())?;
    let mut answer = [0; 64];
    let count = client.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..count]).into_owned())
}

/// An address that is gone is named, and nothing is created; when it is back, so is the program.
fn address_that_is_missing() -> Verdict {
    const ADDRESS: &str = "198.51.100.77";
    let ip =
        |verb: &str| Command::new("ip").args(["address", verb, "198.51.100.77/32", "dev", "lo"]).status();
    needs_root()?;
    needs(ip("add").is_ok_and(|status| status.success()), "`ip`, and the right to give addresses")?;
    let scene = Scene::new()?;
    let (mut server, port) = start(ADDRESS, &scene)?;
    checkpoint_and_kill(&mut server, &scene.image())?;
    let _ = ip("del");
    let refused =
        rekindle::run(&mut restore(&scene.image(), &["--detach"])?)?.refused(&[5], &[ADDRESS, "TCP"]);
    let back = ip("add");
    refused?;
    ensure!(back?.success(), "the address cannot be given again");
    let server = restore_detached(server.pid(), &scene.image(), &scene)?;
    let client = Client::connect(ADDRESS, port)?;
    let alive = client.goes_on(server.pid()).and_then(|()| end_all(server, vec![client]));
    let _ = ip("del");
    alive
}

// ---- two hosts: network namespaces that are joined by a link

/// What happens to packets on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Good,
    /// One in 64 is lost: those whose checksum happens to end in six zeros.
    LosingPackets,
}

/// The host of the server and the host of the clients, and the link between them.
struct Hosts {
    server: Network,
    clients: Network,
}

impl Hosts {
    fn make() -> Verdict<Self> {
        needs_root()?;
        let (Some(server), Some(clients)) = (Network::make()?, Network::make()?) else {
            return Err(Trouble::Needs("the right to make network namespaces".to_owned()));
        };
        let hosts = Self { server, clients };
        for host in [&hosts.server, &hosts.clients] {
            let _inside = host.enter()?;
            // Hundreds of full queues of the usual sizes would be gigabytes.
            for (name, sizes) in [("tcp_rmem", "4096 131072 400000"), ("tcp_wmem", "4096 16384 400000")] {
                std::fs::write(format!("/proc/sys/net/ipv4/{name}"), sizes)?;
            }
        }
        hosts.clients.ip("address add 10.77.0.2/32 dev lo")?;
        hosts.clients.ip("address add fd77::2/128 dev lo nodad")?;
        hosts.join(&hosts.server, "one")?;
        Ok(hosts)
    }

    /// Gives a host the addresses of the server, and a link to that of the clients.
    fn join(&self, server: &Network, name: &str) -> Verdict {
        let namespace = self.clients.path();
        server.ip(&format!("link add {name} type veth peer name {name} netns {namespace}"))?;
        for (host, own, other) in [(server, "1", "2"), (&self.clients, "2", "1")] {
            host.ip(&format!("link set {name} up"))?;
            if own == "1" {
                host.ip("address add 10.77.0.1/32 dev lo")?;
                host.ip("address add fd77::1/128 dev lo nodad")?;
            }
            host.ip(&format!("route replace 10.77.0.{other}/32 dev {name} src 10.77.0.{own}"))?;
            host.ip(&format!("-6 address add fe80::{own}/64 dev {name} nodad"))?;
            host.ip(&format!(
                "-6 route replace fd77::{other}/128 via fe80::{other} dev {name} src fd77::{own}"
            ))?;
        }
        Ok(())
    }

    fn client(&self, address: &str, port: u16, pace: Duration) -> Verdict<Client> {
        let _inside = self.clients.enter()?;
        Client::over(TcpStream::connect((address, port))?, pace)
    }

    /// Lets the link lose packets in both directions.
    fn lose_packets(&self) -> Verdict {
        const RULES: &str = "table inet loss { chain in { type filter hook input priority 0; tcp checksum & 63 == 0 drop; }; \
                             chain out { type filter hook output priority 0; tcp checksum & 63 == 0 drop; }; }";
        let _inside = self.clients.enter()?;
        let made = Command::new("nft").arg(RULES).output();
        needs(made.is_ok_and(|made| made.status.success()), "`nft`")
    }
}

fn over_a_link(address: &str, count: usize, rounds: u32, link: Link) -> Verdict {
    let hosts = Hosts::make()?;
    if link == Link::LosingPackets {
        hosts.lose_packets()?;
    }
    let _inside = hosts.server.enter()?;
    let scene = Scene::new()?;
    let (mut server, port) = start(address, &scene)?;
    // Hundreds at full speed would leave no time for anything else.
    let pace = if count > 10 { Duration::from_millis(100) } else { Duration::ZERO };
    let clients = (0..count).map(|_| hosts.client(address, port, pace)).collect::<Verdict<Vec<Client>>>()?;
    let some = SOME / count as u64;
    for round in 0..rounds {
        let pid = server.pid();
        all_go_on(&clients, some, pid).context(format!("before round {round}"))?;
        checkpoint_and_kill(&mut server, &scene.image())?;
        server = restore_detached(pid, &scene.image(), &scene)?;
        no_rule_is_left()?;
    }
    all_go_on(&clients, some, server.pid()).context("at the end")?;
    end_all(server, clients)
}

/// The program that is restored has made the connection.
fn client_of_another_host() -> Verdict {
    let hosts = Hosts::make()?;
    let listener = {
        let _inside = hosts.clients.enter()?;
        std::net::TcpListener::bind("10.77.0.2:0")?
    };
    let _inside = hosts.server.enter()?;
    let scene = Scene::new()?;
    scene.images()?;
    let port = listener.local_addr()?.port().to_string();
    let mut program = Program::start(&TCP_SERVER.executable()?, &["10.77.0.2", &port], &scene)?;
    ensure!(program.line()? == "save point", "the subject does not say that it is connected");
    let other = Client::over(listener.accept()?.0, Duration::ZERO)?;
    for _ in 0..5 {
        let pid = program.pid();
        other.goes_on(pid)?;
        checkpoint_and_kill(&mut program, &scene.image())?;
        program = restore_detached(pid, &scene.image(), &scene)?;
    }
    other.goes_on(program.pid())?;
    other.end()?;
    program.finish()
}

/// Restored on another host, which has taken over the address of the first.
fn migration() -> Verdict {
    let hosts = Hosts::make()?;
    let scene = Scene::new()?;
    let (mut server, client) = {
        let _inside = hosts.server.enter()?;
        let (mut server, port) = start("10.77.0.1", &scene)?;
        let client = hosts.client("10.77.0.1", port, Duration::ZERO)?;
        client.goes_on(server.pid())?;
        checkpoint_and_kill(&mut server, &scene.image())?;
        (server, client)
    };
    hosts.server.ip("link del one")?;
    let Some(other) = Network::make()? else { fail!("no third network") };
    hosts.join(&other, "two")?;
    let _inside = other.enter()?;
    server = restore_detached(server.pid(), &scene.image(), &scene)?;
    client.goes_on(server.pid())?;
    end_all(server, vec![client])
}

/// A connection that the program has not accepted is refused, or left out: its client finds it reset.
fn in_flight() -> Verdict {
    needs_root()?;
    let scene = Scene::new()?;
    scene.images()?;
    let mut server = Program::start(&TCP_UNACCEPTED.executable()?, &[], &scene)?;
    let port = number_behind("port ", &mut server)? as u16;
    let mut client = TcpStream::connect(("127.0.0.1", port))?;
    server.await_save_point()?;
    let refused = rekindle::run(&mut checkpoint(server.pid(), &scene.image(), &["--kill"])?)?;
    refused.refused(&[3], &["--skip-in-flight"])?;
    rekindle::run(&mut checkpoint(server.pid(), &scene.image(), &["--kill", "--skip-in-flight"])?)?
        .succeeded()?;
    server.await_killed()?;
    let ended = client.read(&mut [0]).map_err(|error| error.kind());
    ensure!(ended == Err(ErrorKind::ConnectionReset), "the client finds {ended:?}");
    let mut server = restore_detached(server.pid(), &scene.image(), &scene)?;
    let _other = TcpStream::connect(("127.0.0.1", port))?;
    server.say("go on 0")?;
    server.finish()
}
