//! Who the calls to AWS KMS come from.

use kms_provider::KeyUri;
pub use kms_provider::aws::identity::IdentityError;

use crate::settings::aws::check_readable;
use crate::settings::{Settings, reaches_kms_alone};

/// Returns the ARN of the identity that this process calls AWS KMS with.
///
/// `None` where the key is not in AWS KMS, and where only AWS KMS has an address of its own: AWS STS at its usual address would
/// be another system's.
///
/// # Errors
/// [`IdentityError`], which says nothing about the key service.
pub async fn caller(settings: &Settings) -> Option<Result<String, IdentityError>> {
    let key = match settings.key.as_ref()? {
        KeyUri::Aws(key) => key,
        KeyUri::AwsRegions(keys) => keys.first()?,
        _ => return None,
    };
    if reaches_kms_alone() || check_readable().is_err() {
        return None;
    }
    Some(kms_provider::aws::identity::caller_identity(key).await)
}
