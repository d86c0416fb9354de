terraform {
  required_providers {
    cloudflare = { source = "cloudflare/cloudflare" }
  }
}
variable "base_url" { type = string }
variable "token" { type = string }
variable "change" {
  type    = bool
  default = false
}
locals { account = "023e105f4ecef8ad9ca31a8372d0c353" }
provider "cloudflare" {
  api_token = var.token
  base_url  = var.base_url
}
resource "cloudflare_zero_trust_access_group" "one" {
  account_id = local.account
  name       = var.change ? "one, changed" : "one"
  include = [
    { email_domain = { domain = "example.com" } },
    { ip = { ip = "203.0.113.7" } },
    { github_organization = { name = "acme", team = "core", identity_provider_id = "33333333-3333-4333-8333-333333333333" } },
    { azure_ad = { id = "5f3aaaaa-0000-4000-8000-000000000001", identity_provider_id = "22222222-2222-4222-8222-222222222222" } },
    { cloudflare_account_member = {} },
    { everyone = {} },
    { certificate = {} },
    { any_valid_service_token = {} },
  ]
  require = var.change ? [{ geo = { country_code = "CA" } }] : null
  exclude = [{ email = { email = "mallory@example.com" } }]
}
resource "cloudflare_zero_trust_access_group" "two" {
  account_id = local.account
  name       = "two"
  include    = [{ group = { id = cloudflare_zero_trust_access_group.one.id } }]
}
resource "cloudflare_zero_trust_access_group" "many" {
  count      = 30
  account_id = local.account
  name       = "many ${count.index}"
  include    = [{ ip = { ip = "10.0.${count.index}.0/24" } }]
}
resource "cloudflare_zero_trust_access_group" "zone" {
  zone_id = local.account
  name    = "zone"
  include = [{ everyone = {} }]
}
resource "cloudflare_zero_trust_access_policy" "p" {
  account_id = local.account
  name       = "reusable"
  decision   = "allow"
  include    = [{ group = { id = cloudflare_zero_trust_access_group.two.id } }]
}
resource "cloudflare_zero_trust_access_service_token" "t" {
  account_id = local.account
  name       = "robot"
  duration   = "8760h"
}
resource "cloudflare_zero_trust_list" "l" {
  account_id = local.account
  name       = "partners"
  type       = "EMAIL"
  items      = [{ value = "ann@partner.example" }, { value = "bob@partner.example", description = "b" }]
}
data "cloudflare_zero_trust_access_groups" "all" {
  account_id = local.account
  depends_on = [cloudflare_zero_trust_access_group.many]
}
output "groups" { value = length(data.cloudflare_zero_trust_access_groups.all.result) }
