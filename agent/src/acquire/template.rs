//! Topic templates: where a foreign publisher's readings are found, and which asset and channel they belong to.
//!
//! Pure. A template `sensors/{asset}/{channel}` is subscribed to as `sensors/+/+`; a topic that arrives is matched against
//! the templates in the order of the configuration and the first that fits decides. What a topic captured is text from
//! outside: whether it is a name is checked where the payload is decoded.
//!
//! It must never match more than the broker's own rules would: a topic that begins with `$` is not matched by a first level
//! that is a wildcard (MQTT 5.0, 4.7.2).

use fettle_wire::{Name, Unit};

use crate::config::checked::ForeignTemplate;

/// The longest topic template, in bytes: an MQTT topic's own limit.
const LONGEST: usize = 65_535;

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing there, or too much.
    #[error("a topic has 1 to {LONGEST} bytes, this one has {0}")]
    Length(usize),
    /// A level that mixes literal text with a placeholder or wildcard, or names an unknown placeholder.
    #[error("the level {0:?} must be literal text, `+`, `{{asset}}` or `{{channel}}`, and nothing beside it")]
    Level(String),
    /// A placeholder twice.
    #[error("{0} may stand in a topic only once")]
    Twice(&'static str),
    /// No asset at all.
    #[error("the asset is neither in the topic as {{asset}} nor given as `asset`")]
    NoAsset,
    /// Asset or channel both captured and fixed.
    #[error("{0} stands in the topic and is given beside it; leave one out")]
    Both(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(String),
    Any,
    Asset,
    Channel,
}

/// One template, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    levels: Vec<Level>,
    asset: Option<Name>,
    channel: Option<Name>,
    unit: Option<Unit>,
}

/// What a topic says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'a> {
    /// The asset; not yet checked to be a name.
    pub asset: &'a str,
    /// The channel, not yet checked to be a name; absent where the payload's field names are the channels.
    pub channel: Option<&'a str>,
    /// The unit that the configuration gives these values.
    pub unit: Option<Unit>,
}

impl Template {
    /// Takes a template of the configuration apart.
    pub fn new(typed: &ForeignTemplate) -> Result<Self, TemplateError> {
        if typed.topic.is_empty() || typed.topic.len() > LONGEST {
            return Err(TemplateError::Length(typed.topic.len()));
        }
        let levels = typed.topic.split('/').map(level).collect::<Result<Vec<_>, _>>()?;
        let count = |wanted: &Level| levels.iter().filter(|level| *level == wanted).count();
        let (assets, channels) = (count(&Level::Asset), count(&Level::Channel));
        match () {
            () if assets > 1 => Err(TemplateError::Twice("{asset}")),
            () if channels > 1 => Err(TemplateError::Twice("{channel}")),
            () if assets == 1 && typed.asset.is_some() => Err(TemplateError::Both("the asset")),
            () if channels == 1 && typed.channel.is_some() => Err(TemplateError::Both("the channel")),
            () if assets == 0 && typed.asset.is_none() => Err(TemplateError::NoAsset),
            () => Ok(Self { levels, asset: typed.asset.clone(), channel: typed.channel.clone(), unit: typed.unit }),
        }
    }

    /// The MQTT subscription that brings every topic of this template.
    pub fn filter(&self) -> String {
        let texts: Vec<&str> =
            self.levels.iter().map(|l| if let Level::Literal(text) = l { text } else { "+" }).collect();
        texts.join("/")
    }

    /// What `topic` says, if it fits.
    pub fn matches<'a>(&'a self, topic: &'a str) -> Option<Match<'a>> {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let (mut asset, mut channel) = (self.asset.as_deref(), self.channel.as_deref());
        let mut texts = topic.split('/');
        for level in &self.levels {
            let text = texts.next()?;
            match level {
                Level::Literal(literal) if literal != text => return None,
                Level::Literal(_) | Level::Any => {}
                Level::Asset => asset = Some(text),
                Level::Channel => channel = Some(text),
            }
        }
        match texts.next() {
            Some(_) => None,
            None => Some(Match { asset: asset?, channel, unit: self.unit }),
        }
    }
}

fn level(text: &str) -> Result<Level, TemplateError> {
    match text {
        "+" => Ok(Level::Any),
        "{asset}" => Ok(Level::Asset),
        "{channel}" => Ok(Level::Channel),
        _ if text.contains(['+', '#', '{', '}', '\0']) => Err(TemplateError::Level(text.to_owned())),
        _ => Ok(Level::Literal(text.to_owned())),
    }
}

/// The templates of one configuration, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Templates(Vec<Template>);

impl Templates {
    /// All templates; the first error with its index.
    pub fn new(typed: &[ForeignTemplate]) -> Result<Self, (usize, TemplateError)> {
        let one = |(index, typed)| Template::new(typed).map_err(|error| (index, error));
        typed.iter().enumerate().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// What the session subscribes to, each filter once.
    pub fn filters(&self) -> Vec<String> {
        let mut filters: Vec<String> = Vec::new();
        for filter in self.0.iter().map(Template::filter) {
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        filters
    }

    /// The first template that fits `topic`.
    pub fn matches<'a>(&'a self, topic: &'a str) -> Option<Match<'a>> {
        self.0.iter().find_map(|template| template.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(topic: &str, asset: Option<&str>, channel: Option<&str>) -> ForeignTemplate {
        let name = |text: &str| Name::new(text).unwrap();
        ForeignTemplate { topic: topic.into(), asset: asset.map(name), channel: channel.map(name), unit: None }
    }

    #[test]
    fn placeholders_capture_one_level_each() {
        let template = Template::new(&typed("sensors/{asset}/+/{channel}", None, None)).unwrap();
        assert_eq!(template.filter(), "sensors/+/+/+");
        let found = template.matches("sensors/pump-7/x/temperature").unwrap();
        assert_eq!((found.asset, found.channel), ("pump-7", Some("temperature")));
        for other in ["sensors/pump-7/temperature", "sensors/pump-7/x/temperature/raw", "sensor/pump-7/x/t", ""] {
            assert_eq!(template.matches(other), None, "{other}");
        }
    }

    #[test]
    fn asset_and_channel_can_be_fixed() {
        let template = Template::new(&typed("plant/+/boiler", Some("boiler"), Some("pressure"))).unwrap();
        let found = template.matches("plant/north/boiler").unwrap();
        assert_eq!((found.asset, found.channel), ("boiler", Some("pressure")));
    }

    #[test]
    fn a_template_without_channel_leaves_it_to_the_payload() {
        let template = Template::new(&typed("uns/{asset}/edge", None, None)).unwrap();
        assert_eq!(template.matches("uns/fan/edge").unwrap().channel, None);
    }

    #[test]
    fn what_is_not_a_template_is_refused_with_the_rule() {
        let cases = [
            (typed("", Some("a"), None), TemplateError::Length(0)),
            (typed("a/#", Some("a"), None), TemplateError::Level("#".into())),
            (typed("a/pump-{asset}", None, None), TemplateError::Level("pump-{asset}".into())),
            (typed("a/{site}", Some("a"), None), TemplateError::Level("{site}".into())),
            (typed("{asset}/{asset}", None, None), TemplateError::Twice("{asset}")),
            (typed("{asset}/{channel}/{channel}", None, None), TemplateError::Twice("{channel}")),
            (typed("a/{channel}", None, None), TemplateError::NoAsset),
            (typed("a/{asset}", Some("b"), None), TemplateError::Both("the asset")),
            (typed("{asset}/{channel}", None, Some("b")), TemplateError::Both("the channel")),
        ];
        for (typed, expected) in cases {
            assert_eq!(Template::new(&typed), Err(expected), "{}", typed.topic);
        }
    }

    #[test]
    fn a_leading_wildcard_does_not_match_the_brokers_own_topics() {
        let template = Template::new(&typed("{asset}/{channel}", None, None)).unwrap();
        assert_eq!(template.matches("$SYS/uptime"), None);
    }

    #[test]
    fn the_first_template_that_fits_decides_and_filters_are_not_repeated() {
        let all = [
            typed("s/{asset}/{channel}", None, None),
            typed("s/+/+", Some("x"), Some("y")),
            typed("q", Some("x"), None),
        ];
        let templates = Templates::new(&all).unwrap();
        assert_eq!(templates.filters(), ["s/+/+", "q"]);
        assert_eq!(templates.matches("s/a/b").unwrap().asset, "a");
        assert_eq!(Templates::new(&[typed("q", None, None)]), Err((0, TemplateError::NoAsset)));
    }

    proptest! {
        #[test]
        fn arbitrary_topics_never_panic_and_captures_are_levels_of_the_topic(topic in "[a-c/+$]{0,12}") {
            let template = Template::new(&typed("a/{asset}/{channel}", None, None)).unwrap();
            if let Some(found) = template.matches(&topic) {
                prop_assert_eq!(format!("a/{}/{}", found.asset, found.channel.unwrap()), topic);
            }
        }
    }
}
