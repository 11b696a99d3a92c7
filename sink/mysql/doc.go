// Package mysql writes changes to a database that speaks MySQL's protocol: TiDB,
// MySQL, MariaDB.
package mysql
