variable "key_arns" {
  description = "The keys whose decrypts are counted. Empty counts the decrypts of every key in the account."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "key_arns are key ARNs: CloudTrail names the key, not its alias."
  }
  validation {
    # CloudWatch Logs refuses filter patterns over 1,024 characters.
    condition     = length(var.key_arns) <= 8
    error_message = "at most 8 keys fit into one filter pattern."
  }
}
