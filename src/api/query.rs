//! Query parameters (`application/x-www-form-urlencoded`): strict about those that a method asks for, blind
//! to all others.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use axum::http::Uri;

use super::error::ApiError;

/// The undecoded query string of one request.
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn of(uri: &'a Uri) -> Query<'a> {
        Query(uri.query().unwrap_or_default())
    }

    /// Every value of a parameter, in order.
    pub(super) fn all(&self, name: &str) -> Result<Vec<Cow<'a, str>>, ApiError> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(key, _)| decode(key).is_some_and(|key| key == name))
            .map(|(_, value)| decode(value).ok_or_else(|| ApiError::invalid_request(format!("{name} is not UTF-8"))))
            .collect()
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<Cow<'a, str>>, ApiError> {
        let mut values = self.all(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(ApiError::invalid_request(format!("{name} may be given only once"))),
        }
    }

    /// The value of a parameter that must be given once.
    pub(super) fn required(&self, name: &str) -> Result<Cow<'a, str>, ApiError> {
        self.one(name)?.ok_or_else(|| ApiError::invalid_request(format!("{name} is required")))
    }

    /// `limit`, or its default.
    pub(super) fn limit(&self, range: RangeInclusive<usize>, default: usize) -> Result<usize, ApiError> {
        self.number("limit", range, default)
    }

    /// A number, or its default.
    pub(super) fn number(&self, name: &str, range: RangeInclusive<usize>, default: usize) -> Result<usize, ApiError> {
        let Some(text) = self.one(name)? else {
            return Ok(default);
        };
        // `usize::from_str` would take a plus sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(limit) if digits && range.contains(&limit) => Ok(limit),
            _ => {
                let (least, most) = range.into_inner();
                let message = format!("{name} must be a whole number from {least} to {most}");
                Err(ApiError::invalid_request(message))
            }
        }
    }

    /// `cursor`; clients that begin with an empty one mean none.
    pub(super) fn cursor(&self) -> Result<Option<Cow<'a, str>>, ApiError> {
        Ok(self.one("cursor")?.filter(|cursor| !cursor.is_empty()))
    }
}

/// Percent-decoding with `+` for a space. A `%` without two hex digits stands for itself. `None`: the bytes
/// are not UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let text = text.as_bytes();
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let escaped = match byte {
            b'%' => hex_byte(text.get(at + 1..at + 3)),
            _ => None,
        };
        bytes.push(match (byte, escaped) {
            (_, Some(escaped)) => escaped,
            (b'+', None) => b' ',
            (byte, None) => byte,
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn hex_byte(digits: Option<&[u8]>) -> Option<u8> {
    let [high, low] = *digits? else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(high)? * 16 + value(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_percent_decoded() {
        let query = Query("a=%69o%2Eatcr&a=x+y&b=1&%61=z%20&a=100%&a=%zz&a");
        assert_eq!(query.all("a").unwrap(), ["io.atcr", "x y", "z ", "100%", "%zz", ""]);
    }

    #[test]
    fn values_are_decoded_once() {
        let query = Query("did=did%253Aweb&a=%252541&a=%26&a=%3D+%2B");
        assert_eq!(query.one("did").unwrap().as_deref(), Some("did%3Aweb"));
        assert_eq!(query.all("a").unwrap(), ["%2541", "&", "= +"]);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_an_error_only_where_they_are_asked_for() {
        let query = Query("did=%ff&limit=5&%ff=1");
        assert!(query.one("did").is_err());
        assert_eq!(query.limit(1..=10, 3).unwrap(), 5);
    }

    #[test]
    fn garbage_around_the_parameters_is_passed_over() {
        let query = Query("&&=&foo&limit=7&bar=%&?&");
        assert_eq!(query.limit(1..=10, 3).unwrap(), 7);
        assert_eq!(Query("").limit(1..=10, 3).unwrap(), 3);
    }

    #[test]
    fn a_limit_is_a_whole_number_in_its_range() {
        for text in ["0", "11", "-1", "+5", "5.0", "five", "", "%205", "99999999999999999999999", "0x5", "١"] {
            let query = format!("limit={text}");
            assert!(Query(&query).limit(1..=10, 3).is_err(), "{text}");
        }
        assert_eq!(Query("limit=%31").limit(1..=10, 3).unwrap(), 1);
        assert_eq!(Query("limit=10").limit(1..=10, 3).unwrap(), 10);
    }

    #[test]
    fn a_parameter_that_is_given_twice_is_an_error_unless_it_is_a_list() {
        assert!(Query("did=a&did=b").one("did").is_err());
        assert!(Query("limit=1&limit=1").limit(1..=10, 3).is_err());
    }

    #[test]
    fn an_empty_cursor_is_none() {
        assert_eq!(Query("cursor=").cursor().unwrap(), None);
        assert_eq!(Query("cursor=x").cursor().unwrap().as_deref(), Some("x"));
    }
}
