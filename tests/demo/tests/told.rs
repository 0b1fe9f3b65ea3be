//! The demo as a spectator runs it: it says where the page is at once, tells its story to the end, and leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

fn demo(arguments: &[&str], home: &std::path::Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fettle-demo"));
    let output = command.args(arguments).env("TMPDIR", home).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_story_happens_to_its_end_and_nothing_is_left_behind() {
    let home = tempfile::tempdir().unwrap();
    // Two minutes and not one: whoever runs all tests may be building beside it.
    let (code, said, errors) = demo(&["--for", "2min", "--listen", "127.0.0.1:0"], home.path());
    println!("{said}");
    assert_eq!(code, Some(0), "{said}\n{errors}");
    assert!(said.lines().next().is_some_and(|line| line.contains("The page: http://127.0.0.1:")), "{said}");
    for told in ["Readings arrive", "baseline is learned", "The link is back", "That is the one", "has failed (truth)"]
    {
        assert!(said.contains(told), "{told} is not told:\n{said}");
    }
    assert!(said.contains(" 0 are lost."), "{said}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn what_cannot_be_played_is_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let (code, _, errors) = demo(&["--for", "5s"], home.path());
    assert_eq!(code, Some(2));
    assert!(errors.contains("shorter leaves no time to learn"), "{errors}");
    std::fs::write(home.path().join("mine"), "").unwrap();
    let (code, _, errors) = demo(&["--keep", home.path().to_str().unwrap()], home.path());
    assert_eq!(code, Some(1));
    assert!(errors.contains("is not empty"), "{errors}");
}
