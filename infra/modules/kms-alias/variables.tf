variable "name" {
  description = "The alias: alias/<application>-<environment>, as the modules for keys call it."
  type        = string

  validation {
    condition     = can(regex("^alias/[A-Za-z0-9/_-]{1,250}$", var.name)) && !startswith(var.name, "alias/aws/")
    error_message = "name starts with alias/, as in alias/vod-tender-production, and alias/aws/ is reserved for AWS's own keys."
  }
}

variable "target_key_id" {
  description = "The id or ARN of the key that the alias points to. A change takes up to five minutes to reach every request."
  type        = string

  validation {
    condition     = can(regex("^(arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/)?(mrk-)?[A-Za-z0-9-]+$", var.target_key_id))
    error_message = "target_key_id is the id or the ARN of a key, not another alias."
  }
}
