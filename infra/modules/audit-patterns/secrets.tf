# Events about secrets. A request names a secret by its name or by its ARN, and ours begin with a prefix.
locals {
  prefix_chunks = chunklist(var.secret_prefixes, 1)

  secret_pins = { for field in ["requestParameters.secretId", "requestParameters.secretIdList[0]", "additionalEventData.SecretId"] :
    field => [for prefixes in local.prefix_chunks : "(${join(" || ", flatten([for prefix in prefixes : [
      "($.${field} = \"${prefix}*\")", "($.${field} = \"*:secret:${prefix}*\")",
    ]]))})"]
  }

  secret_reads = length(var.secret_prefixes) == 0 ? ["${local.from.secretsmanager} && (($.eventName = \"GetSecretValue\") || ($.eventName = \"BatchGetSecretValue\"))"] : [
    for index, pin in local.secret_pins["requestParameters.secretId"] :
    "${local.from.secretsmanager} && ((($.eventName = \"GetSecretValue\") && ${pin}) || (($.eventName = \"BatchGetSecretValue\") && ${local.secret_pins["requestParameters.secretIdList[0]"][index]}))"
  ]

  # A rotation is the service's own event. One that does not name its secret is counted.
  rotation_failed = length(var.secret_prefixes) == 0 ? ["${local.from.secretsmanager} && ${local.any.rotation}"] : [
    for pin in local.secret_pins["additionalEventData.SecretId"] :
    "${local.from.secretsmanager} && ${local.any.rotation} && (${pin} || ($.additionalEventData.SecretId NOT EXISTS))"
  ]

  # UpdateSecret also writes values and descriptions; only another key puts the secret at risk.
  at_risk_events = "(${local.any.secret_at_risk} || (($.eventName = \"UpdateSecret\") && ($.requestParameters.kmsKeyId = \"*\")))"

  secrets_at_risk = length(var.secret_prefixes) == 0 ? ["${local.from.secretsmanager} && ${local.at_risk_events}"] : [
    for pin in local.secret_pins["requestParameters.secretId"] : "${local.from.secretsmanager} && ${local.at_risk_events} && ${pin}"
  ]
}
