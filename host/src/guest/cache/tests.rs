use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    sync::Barrier,
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use super::*;
use crate::guest::{engine, module::digest};

const ROOMY: u64 = 1 << 30;

/// A component of its own for each number.
fn bytes(number: u8) -> Vec<u8> {
    // `\0asm`, version 13, layer 1; then a custom section of 3 bytes, whose name has 1.
    vec![0, b'a', b's', b'm', 13, 0, 1, 0, 0, 3, 1, b'n', number]
}

struct Scene {
    folder: TempDir,
    engine: Engine,
}

impl Scene {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder"), engine: engine::engine().expect("an engine") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("modules")
    }

    fn open(&self) -> Cache {
        self.open_with(ROOMY)
    }

    fn open_with(&self, bytes_max: u64) -> Cache {
        self.try_open(bytes_max).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_open(&self, bytes_max: u64) -> Result<Cache, CacheError> {
        let config = CacheConfig { folder: self.path(), size: ByteSize(bytes_max) };
        Cache::open(&config, &self.engine, CacheCounts::default())
    }

    /// Why it is not opened.
    fn refused(&self) -> String {
        match self.try_open(ROOMY) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error.to_string(),
        }
    }

    fn store(&self, cache: &Cache, number: u8) {
        let component = Component::from_binary(&self.engine, &bytes(number)).expect("a component");
        cache.store(&digest(&bytes(number)), &component);
    }

    fn file(&self, cache: &Cache, number: u8) -> PathBuf {
        self.path().join(cache.file_name(&digest(&bytes(number))))
    }

    /// Sets when it was used last.
    fn used(&self, cache: &Cache, number: u8, ago: Duration) {
        let file = fs::File::options().write(true).open(self.file(cache, number)).expect("it is there");
        file.set_modified(SystemTime::now() - ago).expect("a time");
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
    }
}

fn has(cache: &Cache, number: u8) -> bool {
    cache.load(&digest(&bytes(number))).is_some()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn what_one_host_has_compiled_the_next_one_finds_and_nothing_else() {
    let scene = Scene::new();
    let first = scene.open();
    assert!(!has(&first, 1));
    scene.store(&first, 1);
    let second = scene.open();
    assert!(has(&second, 1) && !has(&second, 2));
    let CacheCounts { hits, misses, refused, stored, failed, evicted } = &second.counts;
    let counted = [hits, misses, refused, stored, failed, evicted].map(Counter::get);
    assert_eq!((counted, first.counts.stored.get()), ([1, 1, 0, 0, 0, 0], 1));
    assert_eq!(scene.names().len(), 2, "the module and the key: {:?}", scene.names());
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!([mode(&scene.path()), mode(&scene.file(&first, 1))], [0o700, 0o600]);
}

#[test]
fn a_file_that_was_changed_in_any_way_is_not_taken_and_is_written_anew() {
    type Damage = fn(&Scene, &Cache, &Path);
    let cases: [(&str, Damage); 9] = [
        ("rubbish", |_, _, file| fs::write(file, "rubbish").expect("written")),
        ("nothing", |_, _, file| fs::write(file, "").expect("written")),
        ("cut off", |_, _, file| {
            let whole = fs::read(file).expect("it is there");
            fs::write(file, &whole[..whole.len() - 1]).expect("written");
        }),
        ("a bit", |_, _, file| {
            let mut whole = fs::read(file).expect("it is there");
            let middle = whole.len() / 2;
            whole[middle] ^= 0x10;
            fs::write(file, whole).expect("written");
        }),
        ("another module's, renamed", |scene, cache, file| {
            scene.store(cache, 2);
            fs::rename(scene.file(cache, 2), file).expect("renamed");
        }),
        ("what wasmtime compiles, without the seal", |scene, _, file| {
            fs::write(file, scene.engine.precompile_component(&bytes(1)).expect("compiled")).expect("written");
        }),
        ("from another folder", |_, cache, file| {
            let other = Scene::new();
            let of_other = other.open();
            other.store(&of_other, 1);
            assert_eq!(of_other.file_name(&digest(&bytes(1))), cache.file_name(&digest(&bytes(1))));
            fs::copy(other.file(&of_other, 1), file).expect("copied");
        }),
        ("one that others may write", |_, _, file| set_mode(file, 0o622)),
        ("a link", |scene, _, file| {
            fs::rename(file, scene.path().join("elsewhere")).expect("renamed");
            symlink("elsewhere", file).expect("a link");
        }),
    ];
    for (what, damage) in cases {
        let scene = Scene::new();
        let cache = scene.open();
        scene.store(&cache, 1);
        damage(&scene, &cache, &scene.file(&cache, 1));
        assert!(!has(&cache, 1), "{what}");
        assert_eq!((cache.counts.refused.get(), cache.counts.hits.get()), (1, 0), "{what}");
        scene.store(&cache, 1);
        assert!(has(&cache, 1), "{what}, written anew");
    }
}

#[test]
fn a_folder_that_others_may_write_to_or_that_is_another_users_is_not_used() {
    for mode in [0o777, 0o770, 0o702, 0o1777] {
        let scene = Scene::new();
        fs::create_dir(scene.path()).expect("a folder");
        set_mode(&scene.path(), mode);
        let why = scene.refused();
        assert!(why.contains("others may write there") && why.contains("chmod go-w"), "{mode:o}: {why}");
        set_mode(&scene.path(), 0o755);
        assert!(scene.try_open(ROOMY).is_ok(), "others may look");
    }
    let scene = Scene::new();
    fs::write(scene.path(), "a file").expect("written");
    assert!(scene.refused().contains("cannot be opened"), "{}", scene.refused());
    // Only root can give a folder away, and only root has a folder of root's that is not its own.
    let foreign = Scene::new();
    if rustix::process::geteuid().is_root() {
        fs::create_dir(foreign.path()).expect("a folder");
        chown(foreign.path(), Some(4711), None).expect("given away");
        let why = foreign.refused();
        assert!(why.contains("user 4711") && why.contains("runs as 0"), "{why}");
    } else {
        let config = CacheConfig { folder: "/".into(), size: ByteSize(ROOMY) };
        let opened = Cache::open(&config, &foreign.engine, CacheCounts::default()).map(|_| ());
        assert!(matches!(opened, Err(CacheError::Folder(FolderError::Foreign { owner: 0, .. }))), "{opened:?}");
    }
}

#[test]
fn a_key_that_no_host_has_made_or_that_others_could_have_is_not_used() {
    let scene = Scene::new();
    drop(scene.open());
    let key = scene.path().join(KEY);
    set_mode(&key, 0o666);
    assert!(scene.refused().contains("others may write"), "{}", scene.refused());
    set_mode(&key, 0o600);
    fs::write(&key, "short").expect("written");
    assert!(scene.refused().contains("remove the folder"), "{}", scene.refused());
    fs::remove_file(&key).expect("removed");
    fs::create_dir(&key).expect("a folder");
    assert!(scene.refused().contains("is not a file"), "{}", scene.refused());
}

#[test]
fn hosts_that_start_at_once_in_a_new_folder_share_one_key() {
    const HOSTS: u8 = 8;
    for _ in 0..20 {
        let (scene, start) = (Scene::new(), Barrier::new(usize::from(HOSTS)));
        std::thread::scope(|threads| {
            for number in 0..HOSTS {
                let (scene, start) = (&scene, &start);
                threads.spawn(move || {
                    start.wait();
                    scene.store(&scene.open(), number);
                });
            }
        });
        let next = scene.open();
        assert!((0..HOSTS).all(|number| has(&next, number)));
    }
}

#[test]
fn the_least_recently_used_go_when_there_is_no_room() {
    let scene = Scene::new();
    let cache = scene.open();
    scene.store(&cache, 0);
    let size = fs::metadata(scene.file(&cache, 0)).expect("it is there").len();
    let cache = scene.open_with(3 * size + size / 2);
    for number in 1..3 {
        scene.store(&cache, number);
        scene.used(&cache, number, Duration::from_secs(10 - u64::from(number)));
    }
    scene.used(&cache, 0, Duration::from_secs(60));
    // What a host reads is used, and so 1 is what has to go, then 2.
    assert!(has(&cache, 0));
    scene.store(&cache, 3);
    assert_eq!([0, 1, 2, 3].map(|number| has(&cache, number)), [true, false, true, true]);
    assert_eq!(cache.counts.evicted.get(), 1);
    // One that has no room by itself is not kept, and nothing goes for it.
    let small = scene.open_with(size - 1);
    scene.store(&small, 4);
    assert_eq!((small.counts.failed.get(), small.counts.evicted.get()), (1, 0));
    assert!([0, 2, 3].iter().all(|number| has(&cache, *number)));
}

#[test]
fn what_a_killed_host_left_half_written_goes_in_time_and_what_is_being_written_stays() {
    let scene = Scene::new();
    let cache = scene.open();
    let (old, young, foreign) =
        (scene.path().join(".new-1-a"), scene.path().join(".new-2-b"), scene.path().join("README"));
    for path in [&old, &young, &foreign] {
        fs::write(path, "half").expect("written");
    }
    let file = fs::File::options().write(true).open(&old).expect("it is there");
    file.set_modified(SystemTime::now() - Duration::from_secs(2 * 3600)).expect("a time");
    scene.store(&cache, 1);
    assert_eq!([&old, &young, &foreign].map(|path| path.exists()), [false, true, true]);
}

/// However they interleave: what is loaded is right (or the seal is not), nobody fails, and the bound holds at the end.
#[test]
fn many_hosts_at_once_store_load_and_evict_the_same_modules() {
    const MODULES: u8 = 12;
    let scene = Scene::new();
    let cache = scene.open();
    scene.store(&cache, 0);
    let size = fs::metadata(scene.file(&cache, 0)).expect("it is there").len();
    let bytes_max = 4 * size + size / 2;
    std::thread::scope(|threads| {
        for host in 0..6 {
            let scene = &scene;
            threads.spawn(move || {
                let (cache, mut random) = (scene.open_with(bytes_max), fastrand::Rng::with_seed(host));
                for _ in 0..150 {
                    let number = random.u8(..MODULES);
                    if !has(&cache, number) {
                        scene.store(&cache, number);
                    }
                }
                let CacheCounts { refused, failed, .. } = &cache.counts;
                assert_eq!((refused.get(), failed.get()), (0, 0));
            });
        }
    });
    let last = scene.open_with(bytes_max);
    scene.store(&last, 0);
    assert!(scene.names().len() <= 4 + 1, "the key and four modules: {:?}", scene.names());
    assert!(has(&last, 0));
}
