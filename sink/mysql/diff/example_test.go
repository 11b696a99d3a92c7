package diff_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"

	"github.com/tidbcdc/tidbcdc/filter"
	"github.com/tidbcdc/tidbcdc/sink/mysql/diff"
)

// Compare what a changefeed with a target ts has written into a MariaDB with the
// upstream at that ts.
func ExampleCompare() {
	ctx := context.Background()
	upstream, err := sql.Open("mysql", "root@tcp(127.0.0.1:4000)/")
	if err != nil {
		log.Fatal(err)
	}
	defer upstream.Close()
	downstream, err := sql.Open("mysql", "root@tcp(127.0.0.1:3306)/")
	if err != nil {
		log.Fatal(err)
	}
	defer downstream.Close()
	shop, err := filter.New(filter.Config{Rules: []string{"shop.*"}})
	if err != nil {
		log.Fatal(err)
	}
	const targetTs = 470640629509783564
	result, err := diff.Compare(ctx,
		diff.Endpoint{DB: upstream, SnapshotTs: targetTs}, diff.Endpoint{DB: downstream},
		diff.Options{
			Filter:   shop,
			Progress: func(p diff.Progress) { fmt.Fprintf(os.Stderr, "%s.%s: %d rows\r", p.Schema, p.Table, p.Rows) },
		})
	if err != nil {
		log.Fatal(err)
	}
	if err := result.Print(os.Stdout, 10); err != nil {
		log.Fatal(err)
	}
}

// What a report looks like.
func ExampleResult_Print() {
	result := diff.Result{Tables: []*diff.TableResult{
		{Schema: "shop", Table: "customer", Rows: 1200},
		{
			Schema: "shop", Table: "item", Rows: 5000, Missing: 1, Different: 2,
			Structure: []string{"column note does not exist downstream"},
			Differences: []diff.RowDifference{
				{
					Kind:    diff.Different,
					Key:     []diff.ColumnValue{{Name: "id", Value: diff.Value{Text: "A-17"}}},
					Columns: []diff.ColumnDifference{{Name: "price", Upstream: diff.Value{Text: "9.50"}, Downstream: diff.Value{Null: true}}},
				},
				{
					Kind:    diff.Missing,
					Key:     []diff.ColumnValue{{Name: "id", Value: diff.Value{Text: "A-18"}}},
					Columns: []diff.ColumnDifference{{Name: "price", Upstream: diff.Value{Text: "1.00"}, Downstream: diff.Value{Null: true}}},
				},
			},
		},
	}}
	if err := result.Print(os.Stdout, 2); err != nil {
		log.Fatal(err)
	}
	// Output:
	// shop.customer: equal, 1200 rows
	// shop.item: DIFFERENT, 5000 rows upstream, 1 missing downstream, 2 with other values
	//   structure: column note does not exist downstream
	//   different row id="A-17"
	//     price: "9.50" upstream, NULL downstream
	//   missing row id="A-18"
	//     price: "1.00"
	//   … and 1 more rows
	// 1 of 2 tables differ
}
