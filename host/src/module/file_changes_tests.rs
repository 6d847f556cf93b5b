//! Every way to replace a file, with what the system tells and without.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::symlink,
    thread,
};

use futures_util::future::join_all;
use tempfile::TempDir;

use super::*;

const LOOK: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(60);

/// Between the pieces of a file: longer than what settles, where it is known that more is to come.
const PAUSE: Duration = Duration::from_millis(if CLOSING_IS_TOLD { 200 } else { 20 });

/// What a file has in its life: of one length, so that a mixture of two of them would not show in that.
fn content(number: u32) -> Vec<u8> {
    format!("{number:08} ").repeat(4096).into_bytes()
}

/// A folder within a folder, and a file in it that is what is followed.
struct Scene {
    above: TempDir,
}

impl Scene {
    fn new() -> Self {
        let this = Self { above: TempDir::new().expect("a folder") };
        fs::create_dir(this.folder()).expect("a folder");
        fs::write(this.path(), content(0)).expect("written");
        this
    }

    fn folder(&self) -> PathBuf {
        self.above.path().join("modules")
    }

    fn path(&self) -> PathBuf {
        self.folder().join("task.wasm")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.above.path().join(name)
    }

    /// A folder of this name, with this content in the file.
    fn folder_with(&self, folder: &Path, content: &[u8]) {
        fs::create_dir(folder).expect("a folder");
        fs::write(folder.join("task.wasm"), content).expect("written");
    }
}

type Way = fn(&Scene, u32);

/// Written in pieces, with pauses in which it looks as if that was all.
fn in_pieces(mut file: File, content: &[u8], pause: Duration) {
    for piece in content.chunks(content.len() / 4) {
        file.write_all(piece).expect("written");
        thread::sleep(pause);
    }
}

const WAYS: [(&str, Way); 11] = [
    ("renamed over", |scene, number| {
        let next = scene.folder().join("next");
        fs::write(&next, content(number)).expect("written");
        fs::rename(next, scene.path()).expect("renamed");
    }),
    ("renamed over from another folder", |scene, number| {
        fs::write(scene.beside("next"), content(number)).expect("written");
        fs::rename(scene.beside("next"), scene.path()).expect("renamed");
    }),
    ("written in place", |scene, number| fs::write(scene.path(), content(number)).expect("written")),
    ("written in place, in pieces", |scene, number| {
        in_pieces(File::create(scene.path()).expect("opened"), &content(number), PAUSE);
    }),
    ("written over in place, in pieces, never shorter", |scene, number| {
        let mut file = File::options().write(true).open(scene.path()).expect("opened");
        file.seek(SeekFrom::Start(0)).expect("the beginning");
        in_pieces(file, &content(number), PAUSE);
    }),
    ("removed and made again", |scene, number| {
        fs::remove_file(scene.path()).expect("removed");
        thread::sleep(SETTLE * 2);
        fs::write(scene.path(), content(number)).expect("written");
    }),
    ("its folder removed and made again", |scene, number| {
        fs::remove_dir_all(scene.folder()).expect("removed");
        thread::sleep(SETTLE * 2);
        scene.folder_with(&scene.folder(), &content(number));
    }),
    ("its folder moved away, and another in its place", |scene, number| {
        let (next, last) = (scene.beside("next"), scene.beside("last"));
        scene.folder_with(&next, &content(number));
        fs::rename(scene.folder(), &last).expect("renamed");
        fs::rename(next, scene.folder()).expect("renamed");
        fs::remove_dir_all(last).expect("removed");
    }),
    ("its folder a link that is led elsewhere, as releases are", |scene, number| {
        let release = scene.beside(&format!("release-{}", number));
        scene.folder_with(&release, &content(number));
        let link = scene.beside("link");
        symlink(release, &link).expect("a link");
        if !fs::symlink_metadata(scene.folder()).expect("it is there").is_symlink() {
            fs::remove_dir_all(scene.folder()).expect("removed");
        }
        fs::rename(link, scene.folder()).expect("renamed");
    }),
    ("as the kubelet does it", |scene, number| {
        // task.wasm -> ..data/task.wasm, ..data -> ..2026_11_21, and ..data is what is replaced.
        let volume = |name: &str| scene.folder().join(name);
        let timestamped = format!("..2026_{}", number);
        scene.folder_with(&volume(&timestamped), &content(number));
        symlink(&timestamped, volume("..data_tmp")).expect("a link");
        fs::rename(volume("..data_tmp"), volume("..data")).expect("renamed");
        let in_data = Path::new("..data/task.wasm");
        // It may be a link already, as another way has left it.
        if !fs::read_link(scene.path()).is_ok_and(|link| link == in_data) {
            fs::remove_file(scene.path()).expect("removed");
            symlink(in_data, scene.path()).expect("a link");
        }
    }),
    ("a link to a file elsewhere, which is written to", |scene, number| {
        let elsewhere = scene.beside("elsewhere.wasm");
        fs::write(&elsewhere, content(number)).expect("written");
        if fs::read_link(scene.path()).is_ok_and(|link| link == elsewhere) {
            return;
        }
        fs::remove_file(scene.path()).expect("removed");
        symlink(elsewhere, scene.path()).expect("a link");
    }),
];

/// Waits for this content, and returns what else was read before it.
async fn wait_for(changes: &mut Changes, wanted: &[u8], what: &str) -> Vec<Vec<u8>> {
    let mut others = Vec::new();
    let found = async {
        loop {
            match changes.next().await.expect("it never ends") {
                Ok(bytes) if bytes == wanted => return,
                Ok(bytes) => others.push(bytes),
                // Between two steps there is none.
                Err(ReadError::Io { .. }) => {}
                Err(error) => panic!("{what}: {error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("not seen: {what}"));
    others
}

/// The way's outcome is read in the end, and before it nothing but what was there before.
async fn is_seen(scene: &Arc<Scene>, changes: &mut Changes, number: u32, (what, way): (&str, Way)) {
    let of_thread = scene.clone();
    let replacing = thread::spawn(move || way(&of_thread, number));
    let others = wait_for(changes, &content(number), what).await;
    replacing.join().expect("the file is replaced");
    for other in others {
        let begins = String::from_utf8_lossy(&other[..other.len().min(20)]).into_owned();
        assert!(other == content(number - 1), "{what}: {} bytes of neither were read: {begins}", other.len());
    }
}

async fn is_seen_twice(way: (&str, Way), look_every: Duration, watched: bool) {
    let scene = Arc::new(Scene::new());
    let mut changes = follow(scene.path(), look_every, watched);
    // The second time it is what the first has made of it.
    for number in 1..=2 {
        is_seen(&scene, &mut changes, number, way).await;
    }
}

#[tokio::test]
async fn a_file_replaced_in_any_way_is_read_when_it_is_whole() {
    for way in WAYS {
        is_seen_twice(way, LOOK, true).await;
    }
}

#[tokio::test]
async fn so_it_is_where_the_system_tells_nothing() {
    // Whoever writes in pieces is known to be done by nothing but two looks between which nothing has changed: they are as
    // far apart as they are in a host, since a writer may have to wait for a core. All at once, so that it does not take
    // minutes.
    join_all(WAYS.map(|way| is_seen_twice(way, LOOK_EVERY, false))).await;
}

#[tokio::test]
async fn one_way_after_the_other_at_random() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let scene = Arc::new(Scene::new());
    let mut changes = follow(scene.path(), LOOK, true);
    for number in 1..=15 {
        let (what, way) = WAYS[random.usize(..WAYS.len())];
        is_seen(&scene, &mut changes, number, (what, way)).await;
    }
}

#[tokio::test]
async fn a_folder_that_comes_only_later_is_waited_for() {
    let scene = Scene::new();
    fs::remove_dir_all(scene.folder()).expect("removed");
    let mut changes = follow(scene.path(), LOOK, true);
    scene.folder_with(&scene.folder(), &content(1));
    wait_for(&mut changes, &content(1), "a new folder").await;
}

#[tokio::test]
async fn what_happens_to_other_files_of_the_folder_does_not_keep_it_from_being_read() {
    let scene = Arc::new(Scene::new());
    let mut changes = follow(scene.path(), LOOK, true);
    let (of_thread, (end, ended)) = (scene.clone(), std::sync::mpsc::channel::<()>());
    let busy = thread::spawn(move || {
        let mut log = File::create(of_thread.folder().join("log")).expect("a file");
        while ended.recv_timeout(SETTLE / 10).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout) {
            log.write_all(b"a line\n").expect("written");
        }
    });
    fs::write(scene.path(), content(1)).expect("written");
    wait_for(&mut changes, &content(1), "the file").await;
    drop(end);
    busy.join().expect("it ends");
}
