//! A headless Chromium that does what a person does, and tells what that person would see: real input events, real
//! layout, screenshots, and every complaint of the page.
//!
//! The protocol is spoken here ([`wire`]) rather than through a library: a dozen of its methods are needed, they have
//! been stable for years, and the crates that wrap all of it bring generated code and an HTTP stack larger than the rest
//! of the testbed, which `cargo verify` builds before anything else.
//!
//! Must never: reach beyond loopback (every other name fails to resolve), use a profile that exists, outlive its test.

mod wire;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{Deadline, between_looks, eventually};
use crate::folder::{Folder, repository, testbed_folder};
use crate::tools::program_path;
pub use wire::Complaint;
use wire::Wire;

/// How long the browser may take to end in good order.
const PATIENCE: Duration = Duration::from_secs(10);
/// What it may be called.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// A wide screen, and a phone, in CSS pixels.
pub const DESK: (u32, u32) = (1400, 900);
/// See [`DESK`].
pub const PHONE: (u32, u32) = (390, 844);

/// The path of Chromium, if it is installed.
pub(crate) fn program() -> Option<PathBuf> {
    PROGRAMS.iter().find_map(|name| program_path(name))
}

/// A running browser.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    wire: Arc<Wire>,
    log: PathBuf,
}

/// One of its tabs.
#[derive(Debug)]
pub struct Page {
    wire: Arc<Wire>,
    session: String,
}

impl Browser {
    /// Starts one with a new profile in `folder`.
    pub fn start(folder: &Folder) -> Self {
        Self::start_with(folder, &[])
    }

    /// As [`Browser::start`], with more arguments.
    pub fn start_with(folder: &Folder, more: &[&str]) -> Self {
        let program = program().expect("Chromium was found by require()");
        let log = folder.path().join("chromium.log");
        let output = File::create(&log).unwrap_or_else(|e| panic!("cannot create {}: {e}", log.display()));
        let mut profile = std::ffi::OsString::from("--user-data-dir=");
        profile.push(folder.subfolder("browser"));
        // Its descriptors 3 and 4 are the pipe; a shell can set them without unsafe code.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2"]).arg(program).arg(profile);
        command.args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--password-store=basic",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            // A tab that is not in front is looked at by a test all the same.
            "--disable-background-timer-throttling",
            "--disable-backgrounding-occluded-windows",
            "--disable-renderer-backgrounding",
        ]);
        if rustix::process::getuid().is_root() {
            // Chromium refuses to sandbox itself as root; what it opens here is our own page.
            command.arg("--no-sandbox");
        }
        let child =
            command.args(more).arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(output).spawn();
        let mut child = child.expect("`sh` is part of every Linux system");
        let input = child.stdin.take().expect("standard input was asked for");
        let output = child.stdout.take().expect("standard output was asked for");
        Self { child, wire: Arc::new(Wire::new(input, output)), log }
    }

    fn ask(&self, method: &str, parameters: &Value) -> Value {
        self.wire.ask("", method, parameters).unwrap_or_else(|e| panic!("{e}; see {}", self.log.display()))
    }

    /// Opens a tab of the size of [`DESK`], at `url`.
    pub fn open(&self, url: &str) -> Page {
        self.open_with(url, "")
    }

    /// As [`Browser::open`]; `script` runs in the page before the page's own.
    pub fn open_with(&self, url: &str, script: &str) -> Page {
        let target = self.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = self.ask("Target.attachToTarget", &json!({ "targetId": target["targetId"], "flatten": true }));
        let session = attached["sessionId"].as_str().expect("attaching answers with a session").to_owned();
        let page = Page { wire: Arc::clone(&self.wire), session };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.ask(domain, &json!({}));
        }
        page.resize(DESK);
        if !script.is_empty() {
            page.ask("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
        }
        page.ask("Page.navigate", &json!({ "url": url }));
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked first, because it then ends its own children too.
        let _ = self.wire.ask("", "Browser.close", &json!({}));
        let deadline = Deadline::new(PATIENCE);
        while !deadline.passed() && matches!(self.child.try_wait(), Ok(None)) {
            between_looks();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Page {
    fn ask(&self, method: &str, parameters: &Value) -> Value {
        self.wire.ask(&self.session, method, parameters).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The value of a JavaScript expression in the page, awaited if it is a promise. The error is what it threw.
    pub fn look(&self, expression: &str) -> Result<Value, String> {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.wire.ask(&self.session, "Runtime.evaluate", &asked)?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(format!("{expression}: {}", thrown["exception"]["description"])),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// As [`Page::look`], where it must not throw.
    pub fn value(&self, expression: &str) -> Value {
        self.look(expression).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Waits until an expression is true; what the page shows is told if it does not come to that.
    pub fn await_true(&self, what: &str, within: Duration, expression: &str) {
        eventually(what, within, || match self.look(expression)? {
            Value::Bool(true) => Ok(()),
            other => Err(format!("{other}; the page shows: {}", self.text())),
        });
    }

    /// The text that is to be read on it.
    pub fn text(&self) -> String {
        self.look("document.body.innerText")
            .map(|text| text.as_str().unwrap_or_default().to_owned())
            .unwrap_or_default()
    }

    /// Follows a link within the page.
    pub fn go(&self, hash: &str) {
        self.value(&format!("void (location.hash = {})", json!(hash)));
    }

    /// Clicks the middle of the element that an expression gives, with the mouse, after scrolling to it.
    pub fn click(&self, element: &str) {
        let place = self.value(&format!(
            "(() => {{ const e = {element}; e.scrollIntoView({{ block: 'center' }}); const r = e.getBoundingClientRect();
              return [r.left + r.width / 2, r.top + r.height / 2]; }})()"
        ));
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": button, "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", &event);
        }
    }

    /// Types into whatever has the focus.
    pub fn type_text(&self, text: &str) {
        self.ask("Input.insertText", &json!({ "text": text }));
    }

    /// Presses and releases a key: a character, or a name such as `Tab`.
    pub fn press(&self, key: &str) {
        let mut event = json!({ "type": "keyDown", "key": key });
        if key.chars().count() == 1 {
            event["text"] = key.into();
        } else {
            // What the browser itself does upon these keys goes by their codes.
            let code = match key {
                "Tab" => 9,
                "Enter" => 13,
                "Escape" => 27,
                other => panic!("the code of the key {other} is not known here"),
            };
            event["windowsVirtualKeyCode"] = code.into();
            if key == "Enter" {
                event["text"] = "\r".into();
            }
        }
        self.ask("Input.dispatchKeyEvent", &event);
        self.ask("Input.dispatchKeyEvent", &json!({ "type": "keyUp", "key": key }));
    }

    /// Gives the page another size; narrower than a tablet it is a phone, with a phone's viewport.
    pub fn resize(&self, (width, height): (u32, u32)) {
        let (mobile, scale) = if width < 600 { (true, 2) } else { (false, 1) };
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile });
        self.ask("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Whether the person prefers `light` or `dark`; and no motion, so that nothing is looked at half-way.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" }] });
        self.ask("Emulation.setEmulatedMedia", &features);
    }

    /// Keeps a picture of what is in view as `<name>.png` below `target/fettle-testbed/screenshots`.
    pub fn photograph(&self, name: &str) {
        let folder = testbed_folder().join("screenshots");
        fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot create {}: {e}", folder.display()));
        let picture = self.ask("Page.captureScreenshot", &json!({ "format": "png" }));
        let bytes = base64(picture["data"].as_str().unwrap_or_default());
        let path = folder.join(format!("{name}.png"));
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }

    /// What the page has complained of since this was last asked.
    pub fn complaints(&self) -> Vec<Complaint> {
        self.wire.complaints(&self.session)
    }

    /// What axe-core finds wrong with the page as it is now, of impact `serious` or `critical`: rule, what it asks for,
    /// and the elements.
    pub fn barriers(&self) -> Vec<String> {
        let path = repository().join("tests/vendor/axe-core/axe.min.js");
        let axe = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        if self.value("typeof axe") == "undefined" {
            self.value(&format!("{axe}; void 0"));
        }
        let found = self.value(
            "axe.run(document, { resultTypes: ['violations'] }).then((r) => ({ passes: r.passes.length, found: r.violations
              .filter((v) => v.impact === 'serious' || v.impact === 'critical')
              .map((v) => `${v.impact} ${v.id}: ${v.help}: ${v.nodes.map((n) => `${n.target} (${n.any.map((a) => a.message)})`).join('; ')}`) }))",
        );
        assert!(found["passes"].as_u64() > Some(5), "axe has looked at nothing: {found}");
        let found = found["found"].as_array().expect("a list was asked for");
        found.iter().map(|barrier| barrier.as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Decodes standard base64 (RFC 4648); other characters are passed over.
fn base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        held = (held << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}

/// Whether Chromium is there.
pub(crate) fn find() -> Result<(), String> {
    program().map(|_| ()).ok_or_else(|| "chromium is not installed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded() {
        assert_eq!(base64("aGVhbHRoeQ=="), b"healthy");
        assert_eq!(base64("AP/+"), [0, 255, 254]);
    }
}
