//! The claim that the firmware needs no standard library: it is linked into a static library for a Cortex-M4 with its own
//! panic handler, where `std` does not exist.

use std::path::Path;
use std::process::Command;

const TARGET: &str = "thumbv7em-none-eabihf";

/// Whether the toolchain in use has the target's core library.
fn target_is_installed() -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

#[test]
fn the_firmware_links_into_a_static_library_for_a_bare_board() {
    if !target_is_installed() {
        eprintln!("SKIPPED: the target {TARGET} is not installed; `rustup target add {TARGET}` installs it");
        return;
    }
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .current_dir(&image)
        // Flags of the build that runs this test are for the host.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let library = folder.join(TARGET).join("debug/libfettle_image.a");
    let bytes = std::fs::read(&library).unwrap_or_else(|e| panic!("{}: {e}", library.display()));
    for symbol in ["fettle_start", "fettle_poll", "fettle_exchange", "fettle_ram"] {
        assert!(bytes.windows(symbol.len()).any(|w| w == symbol.as_bytes()), "{symbol} is not in the library");
    }
}
