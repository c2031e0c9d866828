output "alias_name" {
  description = "The alias's name."
  value       = aws_kms_alias.this.name
}

output "alias_arn" {
  description = "The alias's ARN."
  value       = aws_kms_alias.this.arn
}
