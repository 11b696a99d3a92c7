package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"
)

// The shop's tables.
var schema = []string{
	"CREATE DATABASE IF NOT EXISTS shop",
	"USE shop",
	`CREATE TABLE product (
		id INT PRIMARY KEY, name VARCHAR(40) NOT NULL, price DECIMAL(8,2) NOT NULL, stock INT NOT NULL)`,
	`CREATE TABLE purchase (
		id BIGINT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(40) NOT NULL,
		status ENUM('new','paid','shipped') NOT NULL DEFAULT 'new', placed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3))`,
	`CREATE TABLE item (
		purchase_id BIGINT, product_id INT, quantity INT NOT NULL, detail JSON,
		PRIMARY KEY (purchase_id, product_id))`,
	`INSERT INTO product VALUES (1,'teapot',24.90,40), (2,'cup',6.50,200), (3,'green tea 100 g',8.20,120), (4,'kettle',49.00,15)`,
}

var customers = []string{"Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances"}

// alterations take turns, one every few seconds.
var alterations = []string{
	"ALTER TABLE purchase ADD COLUMN note VARCHAR(60) NULL DEFAULT 'none'",
	"CREATE INDEX by_customer ON purchase (customer)",
	"ALTER TABLE product MODIFY COLUMN name VARCHAR(80) NOT NULL",
	"ALTER TABLE purchase DROP COLUMN note",
	"DROP INDEX by_customer ON purchase",
	"CREATE TABLE IF NOT EXISTS visitor (id INT PRIMARY KEY, name VARCHAR(40))",
	"DROP TABLE visitor",
}

// runShop sells until ctx ends: a small transaction a few times a second, a
// schema change now and then.
func runShop(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, q := range schema {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	sale := time.NewTicker(400 * time.Millisecond)
	defer sale.Stop()
	alter := time.NewTicker(7 * time.Second)
	defer alter.Stop()
	for altered := 0; ; {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-alter.C:
			_, err = conn.ExecContext(ctx, alterations[altered%len(alterations)])
			altered++
		case <-sale.C:
			err = step(ctx, conn)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// step does one thing that shops do.
func step(ctx context.Context, conn *sql.Conn) error {
	switch n := rand.IntN(10); {
	case n < 4:
		return buy(ctx, conn)
	case n < 6:
		_, err := conn.ExecContext(ctx, "UPDATE purchase SET status='paid' WHERE status='new' ORDER BY id LIMIT 1")
		return err
	case n < 8:
		_, err := conn.ExecContext(ctx, "UPDATE purchase SET status='shipped' WHERE status='paid' ORDER BY id LIMIT 1")
		return err
	case n < 9:
		_, err := conn.ExecContext(ctx, "DELETE FROM purchase WHERE status='shipped' ORDER BY id LIMIT 2")
		return err
	}
	_, err := conn.ExecContext(ctx, "UPDATE product SET stock = stock + 10 WHERE id = ?", 1+rand.IntN(4))
	return err
}

// buy writes a purchase, its items and the stock in one transaction.
func buy(ctx context.Context, conn *sql.Conn) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // an error after Commit
	res, err := tx.ExecContext(ctx, "INSERT INTO purchase (customer) VALUES (?)", customers[rand.IntN(len(customers))])
	if err != nil {
		return err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	for _, product := range rand.Perm(4)[:1+rand.IntN(2)] {
		quantity := 1 + rand.IntN(3)
		if _, err := tx.ExecContext(ctx, `INSERT INTO item VALUES (?, ?, ?, JSON_OBJECT('gift', ?))`,
			id, product+1, quantity, rand.IntN(4) == 0); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE product SET stock = stock - ? WHERE id = ?", quantity, product+1); err != nil {
			return err
		}
	}
	return tx.Commit()
}
