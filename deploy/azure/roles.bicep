// Two roles narrower than any that Azure has: what services/azure/permissions.py says that the
// code calls (a test compares). Who makes roles needs 'User Access Administrator' or 'Owner' on
// the resource group; so they are apart from runtime.bicep, which only assigns them.
targetScope = 'resourceGroup'

@description('dev, prod, ...; names the roles.')
@minLength(1)
@maxLength(16)
param environmentName string = 'dev'

var group = resourceGroup().id
// Names of roles are those of the whole tenant.
var suffix = '${environmentName} ${uniqueString(group)}'

resource keysRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, environmentName, 'Keys')
  properties: {
    roleName: 'Workspace Keys ${suffix}'
    description: 'Read secrets and write new versions of them; delete none.'
    type: 'CustomRole'
    permissions: [
      {
        actions: []
        notActions: []
        dataActions: [
          'Microsoft.KeyVault/vaults/secrets/getSecret/action'
          'Microsoft.KeyVault/vaults/secrets/readMetadata/action'
          'Microsoft.KeyVault/vaults/secrets/setSecret/action'
        ]
        notDataActions: []
      }
    ]
    assignableScopes: [
      group
    ]
  }
}

resource mailRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, environmentName, 'Mail')
  properties: {
    roleName: 'Workspace Mail ${suffix}'
    description: 'Send mail; read no access keys and delete nothing.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.Communication/CommunicationServices/Read'
          'Microsoft.Communication/CommunicationServices/Write'
          'Microsoft.Communication/EmailServices/write'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
    assignableScopes: [
      group
    ]
  }
}

@description('keysRoleId of runtime.bicep')
output keysRoleId string = keysRole.name

@description('mailRoleId of runtime.bicep')
output mailRoleId string = mailRole.name
