//! What name servers can say.

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// There are records of this type.
    Found(T),
    /// The name exists, without records of this type (NODATA).
    NoRecords,
    /// The name does not exist (NXDOMAIN), nor anything below it.
    NoName,
    /// Nobody knows now: SERVFAIL, REFUSED, a timeout. Says which; asking again later may help, and nothing follows from it.
    Unknown(String),
}

impl<T> Answer<T> {
    /// The same answer about something else.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Found(found) => Answer::Found(change(found)),
            Self::NoRecords => Answer::NoRecords,
            Self::NoName => Answer::NoName,
            Self::Unknown(why) => Answer::Unknown(why),
        }
    }

    /// What was found.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }

    /// Whether it is certain that there is nothing: RFC 7208 calls such a look-up void.
    pub const fn is_void(&self) -> bool {
        matches!(self, Self::NoRecords | Self::NoName)
    }
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    /// Lower is tried first.
    pub preference: u16,
    /// Lower case, without the last dot.
    pub host: String,
}

/// The MX records of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailExchanges {
    /// `0 .`: the domain takes no mail (RFC 7505).
    Null,
    /// By preference, then by name; never empty.
    Hosts(Vec<Exchange>),
}
