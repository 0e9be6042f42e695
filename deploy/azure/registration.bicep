// Registration of the application that people sign in to, in the tenant of the deployment: a
// workforce tenant. Bicep reaches no other tenant, so for External ID the steps are in
// `docs/guides/azure.md`. There is no client secret: programs of people sign in with PKCE.
extension microsoftGraphV1
targetScope = 'resourceGroup'

@description('dev, prod, ...; names the application.')
@minLength(1)
@maxLength(16)
param environmentName string = 'dev'

@description('Where sign-in pages may return to.')
param callbackUrls array = [
  'http://localhost:8400/callback'
]

@description('Programs that may call for people without asking them: by default the Azure CLI.')
param authorizedClients array = [
  '04b07795-8ddb-461a-bbee-02f9e1bf7b46'
]

var name = 'workspace-${environmentName}'
var identifier = 'api://${tenant().tenantId}/${name}'
var scopeId = guid(name, 'access_as_user')

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: name
  displayName: 'Workspace (${environmentName})'
  signInAudience: 'AzureADMyOrg'
  identifierUris: [
    identifier
  ]
  isFallbackPublicClient: true
  publicClient: {
    redirectUris: callbackUrls
  }
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: 'access_as_user'
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Use the workspace'
        adminConsentDescription: 'Use the workspace as the signed-in person.'
        userConsentDisplayName: 'Use the workspace'
        userConsentDescription: 'Use the workspace as you.'
      }
    ]
    preAuthorizedApplications: [for client in authorizedClients: {
      appId: client
      delegatedPermissionIds: [
        scopeId
      ]
    }]
  }
  // Addresses count only while xms_edov says that the owner of their domain vouches for them.
  optionalClaims: {
    accessToken: [
      {
        name: 'email'
      }
      {
        name: 'xms_edov'
      }
      {
        name: 'acct'
      }
    ]
    idToken: [
      {
        name: 'email'
      }
      {
        name: 'xms_edov'
      }
      {
        name: 'acct'
      }
    ]
  }
}

resource principal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
}

@description('entraClientIds of runtime.bicep')
output clientId string = principal.appId

@description('entraTenantId of runtime.bicep, with entraExternal false')
output tenantId string = tenant().tenantId

@description('What programs ask tokens for, as `az login --scope`')
output scope string = '${identifier}/access_as_user'
