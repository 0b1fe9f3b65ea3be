//! Lives of units: what training and evaluation work on, whatever file they came from.

/// One step of a life.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When, in the data's unit of time.
    pub time: f64,
    /// Operating settings, in the order of [`Inputs::settings`].
    pub settings: Vec<Option<f64>>,
    /// Channels, in the order of [`Inputs::channels`].
    pub values: Vec<Option<f64>>,
}

/// One unit from its beginning to its failure, or to where the record was cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// As the file calls it.
    pub unit: String,
    /// In ascending order of time.
    pub steps: Vec<Step>,
}

impl Life {
    /// Time of the last step.
    pub fn end(&self) -> f64 {
        self.steps.last().map_or(0.0, |s| s.time)
    }
}

/// Names and units (UCUM) of what a step holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Operating settings.
    pub settings: Vec<(String, String)>,
    /// Channels.
    pub channels: Vec<(String, String)>,
    /// Unit of time.
    pub time_unit: String,
    /// Seconds of a step; 0 where time is counted in something else.
    pub step_seconds: f64,
}
