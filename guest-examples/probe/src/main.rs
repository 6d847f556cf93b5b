//! Does what its arguments say, step by step (`--` between them), and prints how each went. For tests: an ordinary
//! program, with the standard library's sockets and files, and WASI's own where that hides something.

mod streams;

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
};

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    for step in args.split(|arg| arg == "--") {
        let words: Vec<&str> = step.iter().map(String::as_str).collect();
        match run(&words) {
            Ok(said) => println!("{}: {said}", words.join(" ")),
            Err(error) => println!("{}: {:?}: {error}", words.join(" "), error.kind()),
        }
    }
}

fn run(words: &[&str]) -> io::Result<String> {
    match words {
        ["connect", address] => connect(address).and_then(hello),
        ["lookup", name] => {
            let addresses: Vec<_> = (*name, 0).to_socket_addrs()?.map(|address| address.ip().to_string()).collect();
            Ok(addresses.join(" "))
        }
        // Looked up twice, connected to by what came first.
        ["rebind", name, port] => {
            let address = |addresses: io::Result<std::vec::IntoIter<std::net::SocketAddr>>| {
                addresses?.next().ok_or_else(|| io::Error::other("no address"))
            };
            let port = port.parse().map_err(io::Error::other)?;
            let first = address((*name, port).to_socket_addrs())?;
            let second =
                address((*name, port).to_socket_addrs()).map_or_else(|error| error.to_string(), |to| to.to_string());
            Ok(format!("{second}, then {}", hello(TcpStream::connect(first)?)?))
        }
        ["listen", address] => TcpListener::bind(address).map(|_| "listening".into()),
        ["udp", address] => UdpSocket::bind(address).map(|_| "bound".into()),
        ["many", address, count] => many(address, count.parse().map_err(io::Error::other)?),
        ["churn", address, count] => {
            let count = count.parse().map_err(io::Error::other)?;
            for _ in 0..count {
                hello(connect(address)?)?;
            }
            Ok(format!("{count} one after the other"))
        }
        ["last", address, bytes] => {
            connect(address)?.write_all(&vec![b'x'; bytes.parse().map_err(io::Error::other)?])?;
            Ok("written".into())
        }
        ["flood", address] => {
            let mut stream = connect(address)?;
            loop {
                stream.write_all(&[b'x'; 64 * 1024])?;
            }
        }
        ["env", name] => env::var(name).map_err(io::Error::other),
        ["read", path] => fs::read_to_string(path),
        ["write", path, text] => fs::write(path, text).map(|()| "written".into()),
        ["append", path, text] => {
            fs::OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes()).map(|()| "appended".into())
        }
        ["list", path] => {
            let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names.join(" "))
        }
        ["remove", path] => fs::remove_file(path).map(|()| "removed".into()),
        ["make-folder", path] => fs::create_dir(path).map(|()| "made".into()),
        ["rename", from, to] => fs::rename(from, to).map(|()| "renamed".into()),
        ["hard-link", from, to] => fs::hard_link(from, to).map(|()| "linked".into()),
        ["link", target, path] => streams::symlink(target, path),
        ["stream", path, bytes] => streams::write_without_waiting(path, bytes.parse().map_err(io::Error::other)?),
        _ => Err(io::Error::other("no such step")),
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Says hello, and gives back the line that is answered.
fn hello(mut stream: TcpStream) -> io::Result<String> {
    stream.write_all(b"hello\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Keeps so many connections open, or as many as it gets; then closes them, and makes one more.
fn many(address: &str, count: usize) -> io::Result<String> {
    let mut open = Vec::new();
    let mut why = "no error".to_owned();
    for _ in 0..count {
        match connect(address) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                why = error.to_string();
                break;
            }
        }
    }
    let opened = open.len();
    for mut stream in open {
        stream.write_all(b"hello\n")?;
        stream.read_exact(&mut [0; 1])?;
    }
    Ok(format!("{opened} open, then {why}; after closing: {}", hello(connect(address)?)?))
}
