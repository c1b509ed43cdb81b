//! Finished answers of listReposByCollection, for those who ask the same again: while no list has changed, what was answered is still true.
//!
//! Invariant: a page is given out only for the version of the lists that it was made for, so that it says what was written before it was
//! asked for. Memory is bounded, whatever is asked.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH,
    VARY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

use super::surface::LEAST_COMPRESSED_BYTES;

/// Of all pages.
const MOST_BYTES: usize = 4 << 20;
/// What a page takes beside its text.
const SLOT_BYTES: usize = 512;
/// Of an answer, with those that every answer of the listener gets.
const HEADERS: usize = 12;

/// An answer, ready to be sent.
pub(super) struct Page {
    plain: Form,
    /// Made when it is first asked for.
    gzip: OnceLock<Form>,
}

struct Form {
    body: Bytes,
    etag: HeaderValue,
    length: HeaderValue,
}

/// The pages that were asked for lately.
#[derive(Default)]
pub(super) struct Pages {
    slots: Mutex<Slots>,
    /// Random: nobody can make two texts that have the same ETag.
    hasher: hashbrown::DefaultHashBuilder,
}

#[derive(Default)]
struct Slots {
    by_query: HashMap<Arc<str>, Slot>,
    /// The queries; the first one goes, if nobody asked for it since it was last looked at.
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

struct Slot {
    version: u64,
    page: Arc<OnceCell<Arc<Page>>>,
    bytes: usize,
    was_asked_for: bool,
}

impl Pages {
    /// The page of a query (the text behind the `?`), if it was made for this version of the lists.
    pub(super) fn get(&self, query: &str, version: u64) -> Option<Arc<Page>> {
        let mut slots = self.lock();
        let slot = slots.by_query.get_mut(query).filter(|slot| slot.version == version)?;
        slot.was_asked_for = true;
        slot.page.get().cloned()
    }

    /// The same, made by `make` where there is none: once, however many ask at the same time.
    pub(super) async fn get_or_make<E, F>(
        &self,
        query: &str,
        version: u64,
        make: impl FnOnce() -> F,
    ) -> Result<Arc<Page>, E>
    where
        F: Future<Output = Result<Vec<u8>, E>>,
    {
        let slot = self.lock().slot(query, version);
        let page = slot.get_or_try_init(async || Ok(Arc::new(self.page(make().await?)))).await?;
        self.lock().weigh(query, &slot, page);
        Ok(page.clone())
    }

    fn page(&self, mut text: Vec<u8>) -> Page {
        text.shrink_to_fit();
        let etag = format!("\"{:016x}\"", self.hasher.hash_one(&text));
        Page { plain: Form::new(text, etag), gzip: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// The place of a query's page, which may be made already.
    fn slot(&mut self, query: &str, version: u64) -> Arc<OnceCell<Arc<Page>>> {
        if let Some(slot) = self.by_query.get_mut(query) {
            if slot.version != version {
                self.bytes -= slot.bytes;
                *slot = Slot { was_asked_for: slot.was_asked_for, ..Slot::new(query, version) };
                self.bytes += slot.bytes;
            }
            return slot.page.clone();
        }
        let (query, slot) = (Arc::<str>::from(query), Slot::new(query, version));
        let page = slot.page.clone();
        self.bytes += slot.bytes;
        self.by_query.insert(query.clone(), slot);
        self.order.push_back(query);
        self.make_room();
        page
    }

    /// Counts a page that was made.
    fn weigh(&mut self, query: &str, page: &Arc<OnceCell<Arc<Page>>>, made: &Page) {
        let Some(slot) = self.by_query.get_mut(query).filter(|slot| Arc::ptr_eq(&slot.page, page)) else { return };
        // With room for its gzip form.
        let bytes = SLOT_BYTES + query.len() + 2 * made.plain.body.len();
        self.bytes += bytes - slot.bytes;
        slot.bytes = bytes;
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.bytes > MOST_BYTES
            && let Some(query) = self.order.pop_front()
        {
            match self.by_query.get_mut(&query) {
                Some(slot) if slot.was_asked_for => {
                    slot.was_asked_for = false;
                    self.order.push_back(query);
                }
                Some(slot) => {
                    self.bytes -= slot.bytes;
                    self.by_query.remove(&query);
                }
                None => {}
            }
        }
    }
}

impl Slot {
    fn new(query: &str, version: u64) -> Slot {
        Slot { version, page: Arc::default(), bytes: SLOT_BYTES + query.len(), was_asked_for: false }
    }
}

impl Page {
    /// The answer to a request with these headers.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        let is_zipped = self.plain.body.len() > LEAST_COMPRESSED_BYTES && accepts_gzip(request);
        let form = if is_zipped { self.gzip.get_or_init(|| self.plain.zipped()) } else { &self.plain };
        let is_known = is_known(request, &form.etag);
        let mut response = Response::new(if is_known { Body::empty() } else { Body::from(form.body.clone()) });
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(ETAG, form.etag.clone());
        // It may be kept, and is to be asked for again each time: then it is 304 as long as it is still true.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, form.length.clone());
        if is_zipped {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

impl Form {
    fn new(body: Vec<u8>, etag: String) -> Form {
        let etag = HeaderValue::try_from(etag).expect("hexadecimal digits in quotes");
        Form { length: body.len().into(), body: body.into(), etag }
    }

    /// At the cheapest level: DIDs shrink to half at any.
    fn zipped(&self) -> Form {
        let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 2), Compression::fast());
        let body = encoder.write_all(&self.body).and_then(|()| encoder.finish());
        let mut body = body.expect("writing to memory never fails");
        body.shrink_to_fit();
        let etag = self.etag.to_str().unwrap_or_default().trim_end_matches('"');
        Form::new(body, format!("{etag}-gzip\""))
    }
}

/// Whether the client has this form of the answer (RFC 9110, 13.1.2).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let tags = request.get_all(IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tags.map(<[u8]>::trim_ascii).any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes())
}

/// Whether the client takes gzip (RFC 9110, 12.5.3).
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut of_any = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
        let is_wanted = weight.is_none_or(|weight| weight.trim().parse().is_ok_and(|weight: f32| weight > 0.0));
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => return is_wanted,
            "*" => of_any = is_wanted,
            _ => {}
        }
    }
    of_any
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn make(pages: &Pages, query: &str, version: u64, text: &str) -> Arc<Page> {
        let text = text.as_bytes().to_vec();
        pages.get_or_make(query, version, || async { Ok::<_, Infallible>(text) }).await.unwrap()
    }

    fn text(page: &Arc<Page>) -> &str {
        std::str::from_utf8(&page.plain.body).unwrap()
    }

    #[tokio::test]
    async fn a_page_is_given_out_for_its_version_only() {
        let pages = Pages::default();
        assert!(pages.get("a", 1).is_none());
        make(&pages, "a", 1, "first").await;
        assert_eq!(text(&pages.get("a", 1).unwrap()), "first");
        assert_eq!(text(&make(&pages, "a", 1, "not made").await), "first");
        assert!(pages.get("a", 2).is_none() && pages.get("b", 1).is_none());
        assert_eq!(text(&make(&pages, "a", 2, "second").await), "second");
        assert!(pages.get("a", 1).is_none());
    }

    #[tokio::test]
    async fn many_who_ask_at_once_have_it_made_once() {
        let (pages, made) = (Pages::default(), AtomicUsize::new(0));
        let ask = || async {
            let slow = || async {
                made.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok::<_, Infallible>(b"slow".to_vec())
            };
            pages.get_or_make("a", 1, slow).await.unwrap()
        };
        let (first, second, third) = tokio::join!(ask(), ask(), ask());
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &third));
    }

    #[tokio::test]
    async fn a_query_that_fails_is_asked_again_by_the_next() {
        let pages = Pages::default();
        let failed = pages.get_or_make("a", 1, || async { Err::<Vec<u8>, _>("no") }).await;
        assert_eq!(failed.err(), Some("no"));
        assert!(pages.get("a", 1).is_none());
        assert_eq!(text(&make(&pages, "a", 1, "yes").await), "yes");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_what_is_asked_for_stays() {
        let pages = Pages::default();
        let long = "x".repeat(50_000);
        make(&pages, "hot", 1, &long).await;
        for number in 0..500 {
            assert!(pages.get("hot", 1).is_some(), "{number}");
            make(&pages, &format!("cold {number}"), 1, &long).await;
            let slots = pages.lock();
            assert!(slots.bytes <= MOST_BYTES);
            assert_eq!(slots.bytes, slots.by_query.values().map(|slot| slot.bytes).sum::<usize>());
            assert_eq!(slots.order.len(), slots.by_query.len());
        }
        assert!(pages.get("cold 0", 1).is_none() && pages.get("cold 499", 1).is_some());
        // Who asks and does not wait for the answer leaves nothing that is not counted.
        for number in 0..100_000 {
            pages.lock().slot(&format!("never made {number}"), 1);
        }
        assert!(pages.lock().by_query.len() <= MOST_BYTES / SLOT_BYTES);
    }

    #[test]
    fn gzip_is_for_who_accepts_it() {
        for (value, accepted) in [
            ("", false),
            ("gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("br, gzip;q=0.5", true),
            ("br;q=1.0, gzip; q=0.8, *;q=0.1", true),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("*, gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=x", false),
            ("br, identity", false),
            ("gzipped", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), accepted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_page_that_is_known_is_not_sent_again() {
        let page = make(&Pages::default(), "a", 1, &"did".repeat(1000)).await;
        let ask = |encoding: &'static str, known: &str| {
            let known = (IF_NONE_MATCH, HeaderValue::from_str(known).unwrap());
            page.answer(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(encoding)), known]))
        };
        let tag = |answer: &Response| answer.headers()[ETAG].to_str().unwrap().to_owned();
        let (plain, zipped) = (tag(&ask("", "\"x\"")), tag(&ask("gzip", "\"x\"")));
        assert_ne!(plain, zipped);
        for (encoding, known, status) in [
            ("", plain.clone(), 304),
            ("gzip", zipped.clone(), 304),
            ("", format!("\"x\", W/{plain}"), 304),
            ("", "*".to_owned(), 304),
            ("gzip", plain.clone(), 200),
            ("", zipped.clone(), 200),
            ("", plain[..9].to_owned(), 200),
        ] {
            let answer = ask(encoding, &known);
            assert_eq!(answer.status().as_u16(), status, "{known}");
            assert_eq!(tag(&answer), if encoding == "gzip" { &zipped } else { &plain }.as_str());
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-cache");
            assert_eq!(answer.headers().contains_key(CONTENT_TYPE), status == 200);
        }
    }
}
