//! A decorator over the same key service in several Regions.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use envelope_core::provider::{ErrorClass, GeneratedDataKey, KeyDescription};
use envelope_core::{DataKey, EncryptionContext, KeyError, KeyProvider, WrappedDataKey};
use secrecy::SecretSlice;

use crate::arn::KmsArn;

/// A key service in one Region.
pub struct Region {
    name: Box<str>,
    provider: Arc<dyn KeyProvider>,
}

impl Region {
    /// Names a Region as its key ARNs do, `eu-central-1`, and the key service there.
    pub fn new(name: impl Into<Box<str>>, provider: Arc<dyn KeyProvider>) -> Self {
        Self { name: name.into(), provider }
    }

    /// Its name, `eu-central-1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key service there, to check this Region alone.
    #[must_use]
    pub fn provider(&self) -> &Arc<dyn KeyProvider> {
        &self.provider
    }
}

/// Wraps in the nearest Region that answers, and unwraps in any that can.
///
/// # Which Region is asked
///
/// Data keys are made in the first Region that answers, in the given order. To open something, the key id that
/// is stored with it decides:
/// - the ARN of a multi-Region key (its id begins with `mrk-`): every Region, in order. The replicas are one key with
///   one id, so the ARN is read as that of the replica in each Region.
/// - any other key ARN: the Region in it, where that is one of these. No other one could open it.
/// - anything else, or nothing: every Region, in order, until one opens it.
///
/// Each Region's key service still refuses every key that is not allowed there.
///
/// # When the next Region is asked
///
/// Only after [`Unavailable`], [`Timeout`] or [`Throttled`], whose retries the Region's own
/// [`Resilience`](crate::Resilience) has been through: put one around each Region and not around all of them, so that a
/// Region that is down is known to be. Never after a refusal: a key that was disabled in one Region, or an
/// identity that was denied, is not got around through another. If nothing opens it, an outage is reported before anything
/// else: the value may well open in the Region that did not answer.
///
/// # Which keys
///
/// - **Replicas of a multi-Region key**: every value opens in every Region. Whether a key is one is chosen when it is
///   created.
/// - **Independent keys**: a value opens only in the Region that sealed it; values that were sealed while the
///   nearest Region was down still need the other one. [`rewrap`](KeyProvider::rewrap) stays in that Region
///   too.
///
/// [`Unavailable`]: ErrorClass::Unavailable
/// [`Timeout`]: ErrorClass::Timeout
/// [`Throttled`]: ErrorClass::Throttled
pub struct Regions {
    // Nearest first, and never empty.
    regions: Vec<Region>,
    failovers: AtomicU64,
}

impl Regions {
    /// Asks `nearest` first and the others in their order.
    #[must_use]
    pub fn new(nearest: Region, others: impl IntoIterator<Item = Region>) -> Self {
        Self { regions: std::iter::once(nearest).chain(others).collect(), failovers: AtomicU64::new(0) }
    }

    /// The Regions, nearest first.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// How often a call was made in another Region because a nearer one did not answer.
    #[must_use]
    pub fn failovers(&self) -> u64 {
        self.failovers.load(Ordering::Relaxed)
    }

    /// The Regions that may open what claims to be under this key, and the key's name in each.
    fn places<'a>(&'a self, claim: Option<&'a str>) -> Vec<Place<'a>> {
        let arn = claim.and_then(KmsArn::parse).filter(|arn| arn.key_id().is_some());
        let is_at_home = |region: &&Region| arn.is_some_and(|arn| *region.name == *arn.region());
        let is_replicated = arn.is_some_and(|arn| arn.is_multi_region());
        let is_bound =
            arn.is_some() && !is_replicated && self.regions.iter().any(|region| is_at_home(&region));
        let asked = self.regions.iter().filter(|region| !is_bound || is_at_home(region));
        asked
            .map(|region| Place {
                region,
                key_id: match arn {
                    Some(arn) if is_replicated => Some(arn.in_region(&region.name).to_string().into()),
                    _ => claim.map(Cow::Borrowed),
                },
                is_certain: is_bound || is_replicated,
            })
            .collect()
    }

    /// Every Region, for calls that are not about a stored value.
    fn everywhere(&self) -> impl Iterator<Item = Place<'_>> {
        self.regions.iter().map(|region| Place { region, key_id: None, is_certain: true })
    }

    fn failed_over(&self, region: &Region) {
        self.failovers.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(region = &*region.name, "another Region is asked, a nearer one did not answer");
    }
}

/// A Region to ask, and the name of its key there.
struct Place<'a> {
    region: &'a Region,
    key_id: Option<Cow<'a, str>>,
    // Whether this Region has the key, so that its answer about the value is final.
    is_certain: bool,
}

impl Place<'_> {
    fn provider(&self) -> &dyn KeyProvider {
        &*self.region.provider
    }

    fn wrapped<'a>(&self, wrapped: &'a WrappedDataKey) -> Cow<'a, WrappedDataKey> {
        let key_id = self.key_id.as_deref();
        if key_id == wrapped.key_id() {
            return Cow::Borrowed(wrapped);
        }
        // The bytes are as long as they were, so there is nothing that could be refused.
        WrappedDataKey::new(wrapped.bytes(), key_id).map_or(Cow::Borrowed(wrapped), Cow::Owned)
    }
}

/// The failures of the Regions so far, none of which opened it.
#[derive(Default)]
struct Told {
    outage: Option<KeyError>,
    about_the_value: Option<KeyError>,
    wrong_key: Option<KeyError>,
}

impl Told {
    /// Notes a failure after which the next Region is asked.
    ///
    /// # Errors
    /// Any other failure.
    fn hear(&mut self, error: KeyError, is_certain: bool) -> Result<(), KeyError> {
        let place = match error.class() {
            class if class.is_retryable() => &mut self.outage,
            ErrorClass::ContextMismatchOrCorrupt if !is_certain => &mut self.about_the_value,
            ErrorClass::WrongKey => &mut self.wrong_key,
            _ => return Err(error),
        };
        // The nearest Region's failure is the one to report.
        place.get_or_insert(error);
        Ok(())
    }

    fn error(self) -> KeyError {
        let told = self.outage.or(self.about_the_value).or(self.wrong_key);
        told.unwrap_or_else(|| KeyError::new(ErrorClass::Misconfigured, "no Region is configured"))
    }
}

impl std::fmt::Debug for Regions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.regions.iter().map(|region| &region.name).collect();
        f.debug_struct("Regions")
            .field("regions", &names)
            .field("failovers", &self.failovers())
            .finish_non_exhaustive()
    }
}

/// Asks one Region after the other, and returns from the calling function with the first answer.
macro_rules! first_answer {
    ($self:ident, $places:expr, |$place:ident| $call:expr) => {{
        let mut told = Told::default();
        for $place in $places {
            if told.outage.is_some() {
                $self.failed_over($place.region);
            }
            match $call.await {
                Ok(answer) => return Ok(answer),
                Err(error) => told.hear(error, $place.is_certain)?,
            }
        }
        Err(told.error())
    }};
}

#[async_trait]
impl KeyProvider for Regions {
    async fn generate(&self, context: &EncryptionContext) -> Result<GeneratedDataKey, KeyError> {
        first_answer!(self, self.everywhere(), |place| place.provider().generate(context))
    }

    async fn generate_shared(
        &self,
        context: &EncryptionContext,
        message_len: usize,
    ) -> Result<GeneratedDataKey, KeyError> {
        first_answer!(self, self.everywhere(), |place| place.provider().generate_shared(context, message_len))
    }

    async fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<Arc<DataKey>, KeyError> {
        first_answer!(self, self.places(wrapped.key_id()), |place| place
            .provider()
            .unwrap(&place.wrapped(wrapped), context))
    }

    async fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDataKey, KeyError> {
        first_answer!(self, self.places(wrapped.key_id()), |place| place
            .provider()
            .rewrap(&place.wrapped(wrapped), context))
    }

    async fn describe(&self) -> Result<KeyDescription, KeyError> {
        first_answer!(self, self.everywhere(), |place| place.provider().describe())
    }

    fn unwrap_cached(&self, wrapped: &WrappedDataKey, context: &EncryptionContext) -> Option<Arc<DataKey>> {
        self.places(wrapped.key_id()).into_iter().find_map(|place| {
            let wrapped = place.wrapped(wrapped);
            place.provider().unwrap_cached(&wrapped, context)
        })
    }

    async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
        context: &EncryptionContext,
    ) -> Result<SecretSlice<u8>, KeyError> {
        first_answer!(self, self.places(key_id), |place| place.provider().decrypt(
            ciphertext,
            place.key_id.as_deref(),
            context
        ))
    }
}
