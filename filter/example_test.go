package filter_test

import (
	"errors"
	"fmt"

	"github.com/tidbcdc/tidbcdc/filter"
)

func Example() {
	f, err := filter.New(filter.Config{Rules: []string{"shop.*", "!shop.tmp_*", "log.day_??"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Table("shop", "orders"), f.Table("Shop", "TMP_1"), f.Table("log", "day_07"), f.Table("other", "t"))
	fmt.Println(f.Schema("shop"), f.Schema("other"))
	// Output:
	// true false true false
	// true false
}

func ExampleNew_invalidRule() {
	_, err := filter.New(filter.Config{Rules: []string{"shop.*", "my-shop.*"}})
	fmt.Println(err)

	var ruleErr *filter.RuleError
	if errors.As(err, &ruleErr) {
		fmt.Println("rule", ruleErr.Number, "character", ruleErr.Position)
	}
	// Output:
	// parse filter rule 2 "my-shop.*": character 3: unexpected '-': quote the name, or write \ before the character
	// rule 2 character 3
}
