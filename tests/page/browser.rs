//! A real Chromium, headless, driven over its DevTools protocol: what a person would do with the page, and what he would see.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::await_condition::await_condition;

/// The names under which Debian and others install it.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// One tab of a browser of its own.
pub struct Browser {
    process: Child,
    socket: WebSocketStream<TcpStream>,
    calls: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts one, with an empty tab.
    pub async fn start() -> Browser {
        let profile = TempDir::new().unwrap();
        let process = PROGRAMS.iter().find_map(|program| spawn(program, profile.path()));
        let process = process.unwrap_or_else(|| panic!("none of {PROGRAMS:?} is installed"));
        let port_file = profile.path().join("DevToolsActivePort");
        let port: u16 = await_condition("the browser says its port", async || {
            let text = std::fs::read_to_string(&port_file).map_err(|error| error.to_string())?;
            text.lines().next().and_then(|port| port.parse().ok()).ok_or(text)
        })
        .await;
        let tab = await_condition("the browser has a tab", async || {
            let answer = fake_network::client::get(&format!("http://127.0.0.1:{port}/json/list")).await;
            let tabs: Value =
                serde_json::from_slice(&answer.map_err(|error| error.to_string())?.body).unwrap_or_default();
            let tab = tabs.as_array().into_iter().flatten().find(|tab| tab["type"] == "page");
            tab.and_then(|tab| tab["webSocketDebuggerUrl"].as_str().map(str::to_owned)).ok_or_else(|| tabs.to_string())
        })
        .await;
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(tab, stream).await.unwrap();
        let mut browser = Browser { process, socket, calls: 0, _profile: profile };
        browser.call("Page.enable", json!({})).await;
        browser.call("Runtime.enable", json!({})).await;
        browser
    }

    /// Opens a page, in a window of this size.
    pub async fn open(&mut self, url: &str, width: u32, height: u32) {
        self.resize(width, height).await;
        self.call("Page.navigate", json!({ "url": url })).await;
        self.until("document.readyState === 'complete'").await;
    }

    /// Makes the window this large.
    pub async fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Light or dark.
    pub async fn prefer(&mut self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// The value of an expression in the page.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// What is written in the first element that a selector finds; empty when there is none.
    pub async fn text(&mut self, selector: &str) -> String {
        let found = self.evaluate(&format!("document.querySelector({})?.innerText ?? ''", json!(selector))).await;
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    pub async fn until(&mut self, expression: &str) {
        await_condition(expression, async || {
            if self.evaluate(expression).await == true {
                return Ok(());
            }
            Err(self.text("main").await)
        })
        .await;
    }

    /// Waits until the text of an element has a word in it.
    pub async fn until_text(&mut self, selector: &str, words: &str) {
        let found =
            format!("(document.querySelector({})?.innerText ?? '').includes({})", json!(selector), json!(words));
        self.until(&found).await;
    }

    /// Clicks in the middle of the first element that a selector finds, as a mouse would.
    pub async fn click(&mut self, selector: &str) {
        let place = self
            .evaluate(&format!(
                "(() => {{ const it = document.querySelector({}); it.scrollIntoView({{ block: 'center' }});
                   const at = it.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]; }})()",
                json!(selector)
            ))
            .await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Types into whatever has the focus.
    pub async fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses a key: `Tab`, `Enter`, `Escape`.
    pub async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("no code is known for {other}"),
        };
        for kind in [if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Keeps a picture of the window among the build's outputs.
    pub async fn picture(&mut self, name: &str) -> PathBuf {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let bytes = data_encoding::BASE64.decode(shot["data"].as_str().unwrap().as_bytes()).unwrap();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let text = json!({ "id": id, "method": method, "params": parameters }).to_string();
        self.socket.send(Message::text(text)).await.unwrap();
        loop {
            let message = self.socket.next().await.expect("the browser answers").unwrap();
            let Message::Text(text) = message else { continue };
            let answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(program: &str, profile: &Path) -> Option<Child> {
    Command::new(program)
        // Root has no sandbox in a container; everything else keeps it from asking the network for anything of its own.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"])
        .arg("--force-prefers-reduced-motion")
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}
