//! ARNs of keys and aliases in AWS KMS, taken apart.

/// `arn:<partition>:kms:<region>:<account>:<resource>`, where the resource is `key/<id>` or `alias/<name>`. Nothing of it
/// is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KmsArn<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> KmsArn<'a> {
    /// None for a text that is anything else, an ARN of another service among them.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "kms", region, account, resource] = parts[..] else {
            return None;
        };
        let is_whole = [partition, region, account, resource].iter().all(|part| !part.is_empty());
        is_whole.then_some(Self { partition, region, account, resource })
    }

    pub(crate) fn region(&self) -> &'a str {
        self.region
    }

    pub(crate) fn resource(&self) -> &'a str {
        self.resource
    }

    /// The id of a key; `None` for an alias.
    pub(crate) fn key_id(&self) -> Option<&'a str> {
        self.resource.strip_prefix("key/")
    }

    /// Whether it names a multi-Region key. Such keys of different Regions with one id are one key, and each opens what
    /// the others wrapped ("Multi-Region keys in AWS KMS", AWS KMS Developer Guide).
    pub(crate) fn is_multi_region(&self) -> bool {
        self.key_id().is_some_and(|id| id.starts_with("mrk-"))
    }

    /// Whether another ARN is of the same partition, Region and account.
    #[cfg(feature = "aws")]
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        (self.partition, self.region, self.account) == (other.partition, other.region, other.account)
    }

    /// The same resource in another Region.
    pub(crate) fn in_region<'b>(self, region: &'b str) -> KmsArn<'b>
    where
        'a: 'b,
    {
        KmsArn { region, ..self }
    }
}

impl std::fmt::Display for KmsArn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { partition, region, account, resource } = self;
        write!(f, "arn:{partition}:kms:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::KmsArn;

    #[test]
    fn an_arn_is_taken_apart_and_put_together() {
        let text = "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-1";
        let arn = KmsArn::parse(text);
        assert_eq!(arn.map(|arn| arn.to_string()).as_deref(), Some(text));
        assert_eq!(arn.and_then(|arn| arn.key_id()), Some("mrk-1"));
        let elsewhere = arn.map(|arn| arn.in_region("cn-northwest-1").to_string());
        assert_eq!(elsewhere.as_deref(), Some("arn:aws-cn:kms:cn-northwest-1:123456789012:key/mrk-1"));
    }

    #[test]
    fn only_a_whole_arn_of_kms_is_one() {
        for text in [
            "",
            "mrk-1",
            "alias/a",
            "arn:aws:kms:eu-west-1:1",
            "arn:aws:kms::1:key/k",
            "arn:aws:s3:eu-west-1:1:key/k",
            "brn:aws:kms:eu-west-1:1:key/k",
        ] {
            assert_eq!(KmsArn::parse(text), None, "{text}");
        }
        let alias = KmsArn::parse("arn:aws:kms:eu-west-1:1:alias/mrk-1");
        assert!(alias.is_some_and(|arn| arn.key_id().is_none() && !arn.is_multi_region()));
    }
}
