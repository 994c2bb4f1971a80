//! Real services, unprepared: each killed and restored three times in a row, by either command line, and asked through its
//! own interface each time.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rekindle_tests::deadline::{Deadline, STEP};
use rekindle_tests::program::Program;
use rekindle_tests::scene::Scene;
use rekindle_tests::tool::Tool;
use rekindle_tests::trial::{Context as _, Trouble, Verdict, needs, needs_root, run_one_at_a_time};
use rekindle_tests::{ensure, fail};

/// How often each is killed and restored.
const TIMES: u64 = 3;

fn main() -> ExitCode {
    let trials = [
        Tool::each("nginx_with_workers", nginx),
        Tool::each("apache_prefork", apache),
        Tool::each("redis_saving_in_the_background", redis),
        Tool::each("ssh_agent", ssh_agent),
        Tool::each("mariadb_on_io_uring", mariadb),
        Tool::each("node_on_io_uring", node),
        Tool::each("fio_on_io_uring", fio),
        Tool::each("supervisord_with_children", supervisord),
    ];
    run_one_at_a_time(trials.into_iter().flatten().collect())
}

/// Kills and restores it; `check` finds it as it should be each time.
fn again_and_again(
    tool: Tool,
    mut program: Program,
    scene: &Scene,
    mut check: impl FnMut(&Program) -> Verdict,
) -> Verdict<Program> {
    check(&program).context("before")?;
    for time in 1..=TIMES {
        let pid = program.pid();
        tool.checkpoint_and_kill(&mut program, scene).context(format!("checkpoint {time}"))?;
        program = tool.restore(pid, scene).context(format!("restore {time}"))?;
        check(&program).context(format!("after restore {time}"))?;
    }
    Ok(program)
}

fn find(name: &str) -> Verdict<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = path.map(|directory| directory.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Trouble::Needs(name.to_owned()))
}

/// Waits until `ask` gets an answer.
fn await_service<T>(program: &Program, mut ask: impl FnMut() -> Verdict<T>) -> Verdict<T> {
    Deadline::step("the service to answer").until(&[program.pid()], || {
        ensure!(!program.our_child().ends_within(Duration::ZERO)?, "it has ended{}", program.errors());
        Ok(ask().ok())
    })
}

// ---- nginx

/// A master and two workers. Each time it is told to take up its configuration anew, which makes new workers.
fn nginx(tool: Tool) -> Verdict {
    needs_root()?;
    let executable = find("nginx")?;
    let scene = Scene::new()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let directory = scene.directory();
    fs::write(directory.join("page"), "a page of text\n".repeat(10_000))?;
    let here = directory.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|of| format!("{of}_temp_path {here}/{of}; ")).collect();
    let configuration = format!(
        "user root; daemon off; worker_processes 2; pid {here}/pid; error_log {here}/errors; events {{}} \
         http {{ access_log {here}/accesses; {temporary} server {{ listen 127.0.0.1:{port}; root {here}; }} }}"
    );
    fs::write(directory.join("configuration"), configuration)?;
    let arguments = ["-c".to_owned(), format!("{here}/configuration"), "-p".to_owned(), here.to_string()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = Program::start(&executable, &arguments, &scene)?;
    await_service(&program, || get(port))?;
    again_and_again(tool, program, &scene, |program| {
        for _ in 0..8 {
            ensure!(get(port)? == 150_000, "the page has another length");
        }
        let workers = children(program);
        ensure!(workers.len() >= 2, "it has workers {workers:?}");
        program.our_child().signal(rustix::process::Signal::HUP)?;
        await_service(program, || {
            let now = children(program);
            let all_new = now.len() == 2 && now.iter().all(|pid| !workers.contains(pid));
            if all_new { Ok(()) } else { fail!("not yet") }
        })
    })?;
    Ok(())
}

// ---- apache

/// A parent and four children that take turns at a lock of the kernel's (`AcceptMutex sysvsem`) and count in memory that they
/// share what each is doing. Told to do so gracefully, it makes new children each time.
fn apache(tool: Tool) -> Verdict {
    needs_root()?;
    let executable = find("apache2")?;
    let modules = ["mpm_prefork", "authz_core", "status", "mime", "unixd"];
    let modules: String = modules
        .iter()
        .filter(|name| Path::new(&format!("{APACHE_MODULES}/mod_{name}.so")).exists())
        .map(|name| format!("LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n"))
        .collect();
    needs(modules.contains("prefork"), "Apache's prefork module")?;
    let scene = Scene::new()?;
    let directory = scene.directory();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    fs::write(directory.join("page"), "a page of text\n".repeat(10_000))?;
    fs::write(directory.join("types"), "")?;
    // Its children are of another user.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(directory.join(".."), fs::Permissions::from_mode(0o755))?;
    let here = directory.display();
    let configuration = format!(
        "{modules}ServerRoot {here}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile pid\nErrorLog errors\n\
         TypesConfig types\nDefaultRuntimeDir {here}\nMutex sysvsem\nUser nobody\nGroup nogroup\nDocumentRoot {here}\n\
         StartServers 4\nMinSpareServers 4\nMaxSpareServers 4\nMaxRequestWorkers 8\nExtendedStatus On\n\
         <Location /status>\nSetHandler server-status\n</Location>\n"
    );
    fs::write(directory.join("configuration"), configuration)?;
    let arguments = ["-DFOREGROUND".to_owned(), "-f".to_owned(), format!("{here}/configuration")];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = Program::start(&executable, &arguments, &scene)?;
    await_service(&program, || get(port))?;
    let mut served = 0;
    again_and_again(tool, program, &scene, |program| {
        for _ in 0..8 {
            ensure!(get(port)? == 150_000, "the page has another length");
        }
        let counted = accesses(port)?;
        ensure!(counted >= served + 8, "it has served {counted}, and {served} before");
        served = counted;
        let children = children(program);
        ensure!(children.len() >= 4, "it has children {children:?}");
        program.our_child().signal(rustix::process::Signal::USR1)?;
        await_service(program, || {
            let now = self::children(program);
            let all_new = now.len() >= 4 && now.iter().all(|pid| !children.contains(pid));
            if all_new && get(port)? == 150_000 { Ok(()) } else { fail!("not yet") }
        })
    })?;
    let errors = fs::read_to_string(directory.join("errors"))?;
    ensure!(
        !errors.contains("exit signal") && !errors.contains(":emerg]"),
        "its log tells of trouble: {errors}"
    );
    Ok(())
}

/// Where Debian has them.
const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

/// How many requests it has answered in all, as its scoreboard tells.
fn accesses(port: u16) -> Verdict<u64> {
    let page = fetch(port, "/status?auto")?;
    let line = page.lines().find_map(|line| line.strip_prefix("Total Accesses: "));
    line.and_then(|count| count.parse().ok()).ok_or_else(|| Trouble::Failed(format!("the status is {page}")))
}

/// The length of the page that a server sends.
fn get(port: u16) -> Verdict<usize> {
    Ok(fetch(port, "/page")?.len())
}

/// A page that a server sends.
fn fetch(port: u16, name: &str) -> Verdict<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(STEP))?;
    stream.write_all(format!("GET {name} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let Some((_, page)) = answer.split_once("\r\n\r\n") else { fail!("the server says '{answer}'") };
    Ok(page.to_owned())
}

fn children(program: &Program) -> Vec<String> {
    let pid = program.pid().as_raw_nonzero();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

// ---- redis

/// While a child of it writes what it holds, slowly, it is killed and restored; the child comes to its end in its last life.
fn redis(tool: Tool) -> Verdict {
    const KEYS: usize = 10_000;
    let executable = find("redis-server")?;
    let scene = Scene::new()?;
    let directory = scene.directory();
    let socket = directory.join("socket");
    let arguments = ["--port", "0", "--unixsocket", "socket", "--save", "", "--dir", "."];
    let program = Program::start(&executable, &arguments, &scene)?;
    await_service(&program, || ask(&socket, "PING"))?;
    for key in 0..KEYS {
        ask(&socket, &format!("SET key{key} value{key}"))?;
    }
    ask(&socket, "CONFIG SET rdb-key-save-delay 600")?; // microseconds a key
    ask(&socket, "BGSAVE")?;
    let mut round = 0;
    let program = again_and_again(tool, program, &scene, |program| {
        ensure!(children(program).len() == 1, "it is not saving");
        ensure!(ask(&socket, "PING")? == "+PONG", "it does not answer");
        ensure!(ask(&socket, &format!("STRLEN key{}", KEYS - 1))? == ":9", "a key is lost");
        ensure!(ask(&socket, "INCR rounds")? == format!(":{}", round + 1), "a round is lost");
        round += 1;
        Ok(())
    })?;
    await_service(&program, || if children(&program).is_empty() { Ok(()) } else { fail!("not yet") })?;
    let info = await_service(&program, || match ask(&socket, "INFO persistence")? {
        info if info.contains("rdb_bgsave_in_progress:0") => Ok(info),
        _ => fail!("not yet"),
    })?;
    ensure!(info.contains("rdb_last_bgsave_status:ok"), "the save failed: {info}");
    let saved = fs::read(directory.join("dump.rdb"))?;
    ensure!(saved.starts_with(b"REDIS") && saved.len() > KEYS * 10, "{} bytes were saved", saved.len());
    Ok(())
}

/// One command, inline, and its answer: a line, or a text whose length is told before (its protocol, RESP).
fn ask(socket: &Path, command: &str) -> Verdict<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end().to_owned();
    ensure!(!line.is_empty() && !line.starts_with('-'), "told '{command}', it says '{line}'");
    let Some(length) = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) else {
        return Ok(line);
    };
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

// ---- ssh-agent

/// It holds a key in locked memory, and is asked to sign with it.
fn ssh_agent(tool: Tool) -> Verdict {
    let (agent, add, keygen) = (find("ssh-agent")?, find("ssh-add")?, find("ssh-keygen")?);
    let scene = Scene::new()?;
    let directory = scene.directory();
    let run = |program: &Path, arguments: &[&str]| -> Verdict<String> {
        let mut command = Command::new(program);
        command.args(arguments).env("SSH_AUTH_SOCK", "socket").env_remove("SSH_ASKPASS");
        let output = command.current_dir(&directory).stdin(Stdio::null()).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{} {arguments:?}: {errors}", program.display());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    run(&keygen, &["-q", "-t", "ed25519", "-N", "", "-f", "key"])?;
    let program = Program::start(&agent, &["-D", "-a", "socket"], &scene)?;
    await_service(&program, || run(&add, &["-q", "key"]))?;
    fs::remove_file(directory.join("key"))?; // from now on the agent alone has it
    again_and_again(tool, program, &scene, |_| {
        ensure!(run(&add, &["-l"])?.contains("ED25519"), "the agent has lost the key");
        run(&add, &["-T", "key.pub"]).map(drop)
    })?;
    Ok(())
}

// ---- MariaDB

/// Its storage engine reads and writes through io_uring. It is killed while a client inserts; what was told to be there is.
fn mariadb(tool: Tool) -> Verdict {
    needs_root()?;
    let (server, client, install) = (find("mariadbd")?, find("mariadb")?, find("mariadb-install-db")?);
    needs(
        fs::read_to_string("/etc/passwd")?.lines().any(|line| line.starts_with("mysql:")),
        "the user mysql",
    )?;
    let scene = Scene::new()?;
    let directory = scene.directory();
    for open in [&directory, &directory.join("..")] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o777))?;
    }
    let data = format!("--datadir={}/data", directory.display());
    let run = |program: &Path, arguments: &[&str]| -> Verdict<String> {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(&directory).stdin(Stdio::null()).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{} {arguments:?}: {errors}", program.display());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let plain = "--auth-root-authentication-method=normal";
    run(&install, &["--no-defaults", "--user=mysql", &data, plain])?;
    let [socket, log] = ["socket=", "log-error="]
        .map(|option| format!("--{option}{}/{}.err", directory.display(), &option[..3]));
    let arguments = [
        "--no-defaults",
        "--user=mysql",
        &data,
        &socket,
        &log,
        "--skip-networking",
        "--innodb-use-native-aio=1",
        "--innodb-buffer-pool-size=16M",
    ];
    let program = Program::start(&server, &arguments, &scene)?;
    let ask = |query: &str| run(&client, &["--no-defaults", "-uroot", &socket, "-N", "-e", query]);
    await_service(&program, || ask("select 1"))?;
    ensure!(rings(program.pid().as_raw_nonzero()) > 0, "it has no ring");
    ask("create table test.t (i int primary key auto_increment, v varchar(2000))")?;
    let mut rows = 0;
    again_and_again(tool, program, &scene, |program| {
        let counted =
            await_service(program, || ask("select count(*) from test.t where v = repeat('v', 1500)"))?;
        ensure!(counted == rows.to_string(), "there are {counted} rows of {rows}");
        ensure!(ask("check table test.t")?.ends_with("OK"), "its table is damaged");
        // Not waited for: its pages are on their way when it is killed.
        ask("insert into test.t (v) select repeat('v', 1500) from test.seq_1_to_1000")?;
        rows = ask("select count(*) from test.t")?.parse().unwrap_or(0);
        Ok(())
    })?;
    let log = fs::read_to_string(directory.join("log.err"))?;
    let errors = log.lines().find(|line| line.contains("[ERROR]"));
    ensure!(errors.is_none(), "its log says {errors:?}");
    Ok(())
}

/// How many rings of io_uring a process has.
fn rings(pid: impl std::fmt::Display) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|link| link.as_os_str() == "anon_inode:[io_uring]")
        .count()
}

// ---- Node.js

/// A server that reads and writes files through rings that a thread of the kernel polls.
fn node(tool: Tool) -> Verdict {
    needs_root()?;
    let (node, env) = (find("node")?, find("env")?);
    let scene = Scene::new()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let script = format!(
        "const fs = require('fs').promises; let n = 0;\n\
         require('http').createServer(async (question, answer) => {{\n\
           const name = 'file' + ++n % 10;\n\
           await fs.writeFile(name, 'text ' + n);\n\
           answer.end(await fs.readFile(name, 'utf8') + ' ' + (await fs.stat(name)).size);\n\
         }}).listen({port}, '127.0.0.1');\n"
    );
    fs::write(scene.directory().join("server.js"), script)?;
    let node = node.display().to_string();
    let program = Program::start(&env, &["UV_USE_IO_URING=1", &node, "server.js"], &scene)?;
    let mut asked = 0;
    let mut ask = || -> Verdict {
        let page = fetch(port, "/")?;
        asked += 1;
        let text = format!("text {asked}");
        ensure!(
            page == format!("{text} {}", text.len()),
            "it says '{page}' when asked for the {asked}th time"
        );
        Ok(())
    };
    await_service(&program, &mut ask)?;
    needs(rings(program.pid().as_raw_nonzero()) > 0, "a Node.js that uses io_uring")?;
    again_and_again(tool, program, &scene, |_| (0..100).try_for_each(|_| ask()))?;
    Ok(())
}

// ---- fio

/// It writes and reads blocks in any order, sixteen at a time, and checks each against its checksum; killed in the middle.
fn fio(tool: Tool) -> Verdict {
    let fio = find("fio")?;
    let scene = Scene::new()?;
    let arguments = [
        "--name=job",
        "--filename=data",
        "--size=16m",
        "--ioengine=io_uring",
        "--iodepth=16",
        "--rw=randrw",
        "--bs=4k",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--loops=8",
        "--output=report",
        "--rate_iops=4000",
    ];
    let program = Program::start(&fio, &arguments, &scene)?;
    let has_begun = |program: &Program| {
        let has_ring = || children(program).iter().any(|pid| rings(pid) > 0);
        await_service(program, || if has_ring() { Ok(()) } else { fail!("not yet") })
    };
    let program = again_and_again(tool, program, &scene, has_begun)?;
    let status = program.our_child().ends_within(Duration::from_secs(120))?;
    ensure!(status, "it does not come to an end");
    let report = fs::read_to_string(scene.directory().join("report"))?;
    ensure!(report.contains("err= 0"), "it reports {report}");
    Ok(())
}

// ---- supervisord

/// It is told to start one of its children anew each time, through a socket that was given its name when it was ready.
fn supervisord(tool: Tool) -> Verdict {
    const CONFIGURATION: &str = "[supervisord]\nnodaemon=true\nlogfile=log\npidfile=pid\n\
        [unix_http_server]\nfile=%(here)s/socket\n\
        [rpcinterface:supervisor]\n\
        supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
        [supervisorctl]\nserverurl=unix://%(here)s/socket\n\
        [program:sleeps]\ncommand=sleep 1000\nstartsecs=0\n\
        [program:stays]\ncommand=sleep 1000\nstartsecs=0\n";
    let (server, control) = (find("supervisord")?, find("supervisorctl")?);
    let scene = Scene::new()?;
    let configuration = scene.directory().join("configuration");
    fs::write(&configuration, CONFIGURATION)?;
    let tell = |arguments: &[&str]| -> Verdict<String> {
        let output = Command::new(&control).arg("-c").arg(&configuration).args(arguments).output()?;
        let says = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "supervisorctl {arguments:?}: {says}");
        Ok(says)
    };
    let path = configuration.to_string_lossy();
    let program = Program::start(&server, &["-c", &path], &scene)?;
    let stays = await_service(&program, || tell(&["pid", "stays"]))?;
    again_and_again(tool, program, &scene, |_| {
        ensure!(tell(&["pid", "stays"])? == stays, "it has lost a child");
        let before = tell(&["pid", "sleeps"])?;
        tell(&["restart", "sleeps"])?;
        let after = tell(&["pid", "sleeps"])?;
        ensure!(
            before != after && tell(&["status"])?.matches("RUNNING").count() == 2,
            "it has not restarted it"
        );
        Ok(())
    })?;
    Ok(())
}
