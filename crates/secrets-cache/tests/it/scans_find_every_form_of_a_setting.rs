//! A literal under a telling name is found in every everyday form, with its own name and value; a harmless one is not.

use secrets_cache::scan::{Finding, Scanner};

/// Put together here, so that no scanner takes this file for a leak.
fn filled(text: &str) -> String {
    text.replace("§1", &format!("hunter2-{}", "Xy9zQ")).replace("§2", &format!("swordfish-{}", "7Qw"))
}

fn scan(scanner: &Scanner, name: &str, text: &str) -> Vec<Finding> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    let report = scanner.scan([&path]);
    assert!(report.unread.is_empty(), "{report:?}");
    for value in ["§1", "§2"].map(filled) {
        assert!(!format!("{report:?}").contains(&value), "{report:?}");
    }
    report.findings
}

/// The fingerprint of a value that a name makes a secret.
fn fingerprint(scanner: &Scanner, value: &str) -> String {
    let findings = scan(scanner, "reference.env", &format!("A_PASSWORD='{value}'\n"));
    assert_eq!((findings.len(), findings[0].rule), (1, "secret-by-name"), "{value}");
    findings[0].fingerprint.clone()
}

/// Each text has exactly the named values, in this order.
fn check(file: &str, cases: &[(&str, &[(&str, &str)])]) {
    let scanner = Scanner::default();
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let findings = scan(&scanner, file, &format!("{}\n", filled(text)));
        let found: Vec<(Option<String>, String)> =
            findings.iter().map(|finding| (finding.name.clone(), finding.fingerprint.clone())).collect();
        let expected: Vec<(Option<String>, String)> = expected
            .iter()
            .map(|(name, value)| (Some((*name).to_owned()), fingerprint(&scanner, &filled(value))))
            .collect();
        if found != expected {
            wrong.push(format!("{file}: {text}\n    {findings:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_one(file: &str, cases: &[(&str, &str)]) {
    for (text, name) in cases {
        check(file, &[(text, &[(name, "§1")])]);
    }
}

fn check_none(file: &str, texts: &[&str]) {
    for text in texts {
        check(file, &[(text, &[])]);
    }
}

#[test]
fn settings_of_a_dotenv_over_several_lines_and_in_comments_are_found() {
    for file in [".env", "prod.env", "env-prod", "env_prod", ".flaskenv", "default.environment"] {
        check(
            file,
            &[
                ("A=1\nDB_PASSWORD=\"\n§1\n\"\nB=2", &[("DB_PASSWORD", "\n§1\n")]),
                ("export DB_PASSWORD='§1\n§2' # why", &[("DB_PASSWORD", "§1\n§2")]),
                (
                    "DB_PASSWORD=\"a\n\nb\"\nAPI_TOKEN=`\n§1`",
                    &[("DB_PASSWORD", "a\n\nb"), ("API_TOKEN", "\n§1")],
                ),
                ("#DB_PASSWORD=§1", &[("DB_PASSWORD", "§1")]),
                ("# DB_PASSWORD=§1", &[("DB_PASSWORD", "§1")]),
                ("  ## export DB_PASSWORD=\"§1\" # old", &[("DB_PASSWORD", "§1")]),
                ("# API_KEY='§1'\nAPI_KEY=", &[("API_KEY", "§1")]),
                ("DB_PASSWORD=§1 # DB_PASSWORD=§2", &[("DB_PASSWORD", "§1"), ("DB_PASSWORD", "§2")]),
                ("export A_PASSWORD=§1 B_TOKEN=§2", &[("A_PASSWORD", "§1"), ("B_TOKEN", "§2")]),
                ("DB={\"user\": \"a\", \"password\": \"§1\"}", &[("password", "§1")]),
                ("OPTIONS=-Xmx1g -Ddb.password=§1", &[("db.password", "§1")]),
                // A quote that does not end takes nothing from the settings below it.
                ("DB_PASSWORD=\"§1\nAPI_TOKEN=\"§2\"", &[("DB_PASSWORD", "§1"), ("API_TOKEN", "§2")]),
            ],
        );
        check_none(
            file,
            &[
                "# DB_PASSWORD=",
                "# DB_PASSWORD=changeme",
                "# DB_PASSWORD=${DB_PASSWORD}",
                "# DB_PASSWORD=<the password>",
                "# DB_PASSWORD=changeme (old)",
                "# DB_PASSWORD=the password of the database",
                "# the DB_PASSWORD is in the vault",
                "# DB_PASSWORD_FILE=/run/secrets/db",
                "GREETING=\"\n§1\n\"",
                "DB_PASSWORD=\"\n\"",
                "DB_PASSWORD=\"\n${OTHER}\n\"",
            ],
        );
    }
}

#[test]
fn members_of_json_are_found_whatever_escapes_they_have() {
    check(
        "app.json",
        &[
            (r#"{"password": "§1\u0026x"}"#, &[("password", r"§1\u0026x")]),
            (r#"{"user": "a", "password": "§1\"x", "port": 1}"#, &[("password", r#"§1\"x"#)]),
            (
                r#"{"a": {"db_password": "§1"}, "b": {"api_token": "§2"}}"#,
                &[("db_password", "§1"), ("api_token", "§2")],
            ),
            (r#"{"SecretString": "{\"password\":\"§1\",\"user\":\"a\"}"}"#, &[("password", "§1")]),
            (r#"{"ParameterKey": "DbPassword", "ParameterValue": "§1"}"#, &[("DbPassword", "§1")]),
            ("{\"adminPassword\": {\n  \"value\": \"§1\"\n}}", &[("adminPassword", "§1")]),
            ("{\"env\": [\"A=1\", \"DB_PASSWORD=§1\"]}", &[("DB_PASSWORD", "§1")]),
            ("{\"command\": [\"--db-password=§1\"]}", &[("db-password", "§1")]),
            (
                "{\n \"name\": \"DB_PASSWORD\",\n\n \"type\": \"x\",\n \"value\": \"§1\\u0026\"\n}",
                &[("DB_PASSWORD", "§1\\u0026")],
            ),
            (
                "[{\n\"name\": \"A\",\n\"value\": \"§1\"\n}, {\n\"value\": \"§2\",\n\"secure\": true,\n\"name\": \"B_TOKEN\"\n}]",
                &[("B_TOKEN", "§2")],
            ),
        ],
    );
    check_none(
        "app.json",
        &[
            r#"{"password": ""}"#,
            r#"{"password": "changeme\u0021"}"#,
            r#"{"password": "${DB_PASSWORD}"}"#,
            r#"{"password": {"type": "string", "description": "a-1 b"}}"#,
            r#"{"name": "DB_PASSWORD", "valueFrom": "arn:aws:ssm:eu-west-1:1:parameter/db"}"#,
            r#"{"required": ["password", "user-1"]}"#,
        ],
    );
}

#[test]
fn settings_of_yaml_are_found_in_maps_lists_blocks_and_entries() {
    check_one(
        "app.yaml",
        &[
            ("environment: [\"DB_PASSWORD=§1\"]", "DB_PASSWORD"),
            ("environment: [A=1, DB_PASSWORD=§1]", "DB_PASSWORD"),
            ("environment: {A: b, DB_PASSWORD: §1}", "DB_PASSWORD"),
            ("environment: { DB_PASSWORD: §1, A: b }", "DB_PASSWORD"),
            ("stringData: {user: x, password: \"§1\"}", "password"),
            ("stringData: {'password': '§1'}", "password"),
            ("password: |\n  §1\nuser: a", "password"),
            ("  - password: >-\n      §1", "password"),
            ("password: |2-\n\n  §1\n", "password"),
            ("password: !!str |\n  §1\n", "password"),
            ("password:\n  §1\nuser: a", "password"),
            ("password:\n  \"§1\"\nuser: a", "password"),
            ("- name: DB_PASSWORD\n  value: |\n    §1", "DB_PASSWORD"),
            ("- name: DB_PASSWORD\n  secure: true\n  value: §1", "DB_PASSWORD"),
            ("- name: DB_PASSWORD\n\n  # why\n  value: §1", "DB_PASSWORD"),
            ("- value: §1\n  a: b\n  name: DB_PASSWORD", "DB_PASSWORD"),
            ("- name: DB_PASSWORD\n  labels:\n    a: b\n  value: §1", "DB_PASSWORD"),
            ("# - name: DB_PASSWORD\n#   value: §1", "DB_PASSWORD"),
            ("Parameters:\n  DbPassword:\n    Type: String\n    Default: §1", "DbPassword"),
            ("- ParameterKey: DbPassword\n  ParameterValue: §1", "DbPassword"),
            ("run: docker run --env=DB_PASSWORD=§1 image", "DB_PASSWORD"),
            ("run: docker run -e 'DB_PASSWORD=§1' image", "DB_PASSWORD"),
            ("- DB_PASSWORD=§1", "DB_PASSWORD"),
            ("DB: ${DB_PASSWORD:-§1}", "DB_PASSWORD"),
            ("# password: §1", "password"),
            ("password: !!str &pw §1", "password"),
            ("command: sh -c \"DB_PASSWORD=§1 run\"", "DB_PASSWORD"),
            ("args: [\"--password\", \"§1\"]", "password"),
        ],
    );
    check_none(
        "app.yaml",
        &[
            "environment: [\"DB_PASSWORD=${DB_PASSWORD}\"]",
            "environment: {A: b, DB_PASSWORD: changeme}",
            "environment: {A: b, DB_PASSWORD: }",
            "environment: {DB_PASSWORD: {{ .Values.password }}}",
            "password: |\n  changeme\n",
            "password: |\n  some words about the 1 password\n",
            "password:\n  valueFrom: a-1\n",
            "password:\n  - a-1-b2\n",
            "password:\nuser: a-1-b2",
            "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      name: db-1\n      key: password",
            "- name: DB_PASSWORD\n- name: A\n  value: §1",
            "- name: DB_PASSWORD\n  values:\n    - name: A\n      value: §1",
            "DB: ${DB_PASSWORD:-changeme}",
            "# password: the one of 2024",
            "# the password: see a-1",
            "DB: ${DB_PASSWORD:?is not set-1}",
        ],
    );
}

#[test]
fn settings_of_toml_hcl_systemd_and_shells_are_found() {
    check_one(
        "app.toml",
        &[
            ("db = { user = \"a\", password = \"§1\" }", "password"),
            ("password = \"\"\"§1\"\"\"", "password"),
        ],
    );
    for file in ["main.tf", "prod.tfvars"] {
        check_one(
            file,
            &[
                ("db = { user = \"a\", password = \"§1\" }", "password"),
                (
                    "resource \"aws_ssm_parameter\" \"x\" {\n  name = \"/prod/db/password\"\n  type = \"SecureString\"\n\n  # why\n  value = \"§1\"\n}",
                    "password",
                ),
                (
                    "resource \"aws_ssm_parameter\" \"db_password\" {\n  type = \"SecureString\"\n  value = \"§1\"\n}",
                    "db_password",
                ),
                ("variable \"db_password\" {\n  type = string\n  default = \"§1\"\n}", "db_password"),
            ],
        );
        check_none(
            file,
            &[
                "resource \"aws_ssm_parameter\" \"db_password\" {\n  value = var.db_password\n}",
                "variable \"db_password\" {\n  default = \"\"\n}",
                "resource \"x\" \"y\" {\n  name = \"db_password\"\n}\nresource \"x\" \"z\" {\n  value = \"§1\"\n}",
            ],
        );
    }
    check(
        "app.service",
        &[
            ("Environment=DB_PASSWORD=§1", &[("DB_PASSWORD", "§1")]),
            ("Environment=\"DB_PASSWORD=§1\"", &[("DB_PASSWORD", "§1")]),
            (
                "Environment=\"A=1\" \"DB_PASSWORD=§1\" 'B_TOKEN=§2'",
                &[("DB_PASSWORD", "§1"), ("B_TOKEN", "§2")],
            ),
            ("Environment=A=1 DB_PASSWORD=§1 B_TOKEN=§2", &[("DB_PASSWORD", "§1"), ("B_TOKEN", "§2")]),
            ("EnvironmentFile=/etc/app/password-1\nLoadCredential=password:/etc/x-1", &[]),
        ],
    );
    for file in ["run.sh", "Dockerfile", ".bash_history", "ci.yml"] {
        check(
            file,
            &[
                ("docker run --env=DB_PASSWORD=§1 image", &[("DB_PASSWORD", "§1")]),
                (
                    "docker run -e DB_PASSWORD=§1 -e \"B_TOKEN=§2\" image",
                    &[("DB_PASSWORD", "§1"), ("B_TOKEN", "§2")],
                ),
                ("helm install a --set db.user=a,db.password=§1,b=c", &[("db.password", "§1")]),
                ("helm install a --set-string db.password=§1", &[("db.password", "§1")]),
                (
                    "kubectl create secret generic a --from-literal=password=§1 --from-literal=api-token='§2'",
                    &[("password", "§1"), ("api-token", "§2")],
                ),
                ("java -Dspring.datasource.password=§1 -jar a.jar", &[("spring.datasource.password", "§1")]),
                ("app --db-password=§1", &[("db-password", "§1")]),
                (
                    "aws x --parameters ParameterKey=A,ParameterValue=b ParameterKey=DbPassword,ParameterValue=§1",
                    &[("DbPassword", "§1")],
                ),
                ("docker run -e DB_PASSWORD -e B_TOKEN=$B_TOKEN -e C_TOKEN=\"${C}\" image", &[]),
                ("app --db-password=\"$(cat /run/x-1)\" --token-file=/run/x-1", &[]),
            ],
        );
    }
}

#[test]
fn settings_of_xml_are_found_in_elements_and_attributes() {
    for file in ["settings.xml", "web.config", "app.csproj"] {
        check_one(
            file,
            &[
                ("<password>§1</password>", "password"),
                ("<server><username>a</username><password>§1</password></server>", "password"),
                ("<db.password>\n  §1\n</db.password>", "db.password"),
                ("<Password encrypted=\"false\"><![CDATA[§1]]></Password>", "Password"),
                ("<server username=\"a\" password=\"§1\"/>", "password"),
                ("<server\n  password='§1'\n/>", "password"),
                ("<add key=\"DbPassword\" value=\"§1\"/>", "DbPassword"),
                ("<add\n  key=\"DbPassword\"\n  a=\"b\"\n  value=\"§1\"/>", "DbPassword"),
                ("<property>\n<name>db.password</name>\n<value>§1</value>\n</property>", "db.password"),
                ("<entry key=\"password\">§1</entry>", "password"),
                ("<setting name=\"Password\" a=\"b\">\n<value>§1</value></setting>", "Password"),
                ("<key>ApiToken</key>\n<string>§1</string>", "ApiToken"),
            ],
        );
        check_none(
            file,
            &[
                "<password>${db.password}</password>",
                "<password></password>",
                "<password>changeme</password>",
                "<password>{aBc1=}</password>",
                "<label>Password</label><value>§1</value>",
                "<xs:element name=\"password\" type=\"xs:string-1\"/>",
                "<string name=\"forgot_password\">Password?</string>",
                "<add key=\"DbPassword\"/><add value=\"§1\"/>",
            ],
        );
    }
}

#[test]
fn literals_of_code_are_found_as_arguments_members_and_variables() {
    for file in ["app.py", "app.ts", "notes.md"] {
        check_one(
            file,
            &[
                ("connect(user=\"a\", password=\"§1\")", "password"),
                ("os.environ[\"DB_PASSWORD\"] = \"§1\"", "DB_PASSWORD"),
                ("os.environ['DB_PASSWORD']='§1'", "DB_PASSWORD"),
                ("os.environ.setdefault(\"DB_PASSWORD\", \"§1\")", "DB_PASSWORD"),
                ("password = os.getenv(\"DB_PASSWORD\", \"§1\")", "DB_PASSWORD"),
                ("const a = process.env.DB_PASSWORD || '§1';", "process.env.DB_PASSWORD"),
                ("password = \"\"\"§1\"\"\"", "password"),
                ("x = {\"user\": \"a\", \"password\": '§1'}", "password"),
                ("f({ user: 'a', password: `§1` })", "password"),
                ("let password: &str = \"§1\";", "password"),
                ("let password: &'static str = r#\"§1\"#;", "password"),
                ("static char password[] = \"§1\";", "password"),
                ("const password =\n    \"§1\";", "password"),
                ("putenv(\"DB_PASSWORD=§1\")", "DB_PASSWORD"),
                ("run([\"docker\", \"-e\", \"DB_PASSWORD=§1\"])", "DB_PASSWORD"),
                ("EnvVar(name=\"DB_PASSWORD\", a=f(1), value=\"§1\")", "DB_PASSWORD"),
                ("docker run -e DB_PASSWORD=§1 image", "DB_PASSWORD"),
                ("ALTER USER app PASSWORD '§1';", "PASSWORD"),
                ("// const password = \"§1\";", "password"),
                ("PASSWORD = ('§1')", "PASSWORD"),
                ("let c = C { password: Some(\"§1\".into()) };", "password"),
                ("let password = String::from(\"§1\");", "password"),
                ("client.setPassword(\"§1\");", "Password"),
                ("var password string = \"§1\"", "password"),
                ("ENV['DB_PASSWORD'] ||= '§1'", "DB_PASSWORD"),
                ("ENV.fetch('DB_PASSWORD', '§1')", "DB_PASSWORD"),
                ("$env:DB_PASSWORD = '§1'", "DB_PASSWORD"),
                ("@Value(\"${db.password:§1}\")", "db.password"),
                ("run([\"--db-password\", \"§1\"])", "db-password"),
                ("f({'api-key': '§1'})", "api-key"),
            ],
        );
        check_none(
            file,
            &[
                "connect(user=\"a\", password=password1)",
                "connect(user=\"a\", password=config.password_1)",
                "connect(user=\"a\", password=\"changeme\")",
                "connect(user=\"a\", password=\"\")",
                "password: §1",
                "DB_PASSWORD=§1",
                "url = \"?password=\" + a1 + \"&b=\"",
                "url=\"?password=\"+a1.b+\"&token=\"+c2+\"&\"",
                "print(f\"password={value1} and more\")",
                "format(\"password={}-1abcdef\", x)",
                "if password == \"\" or token != \"a-1\":",
                "os.getenv(\"DB_PASSWORD\")",
                "field(\"password\", \"§1\")",
            ],
        );
    }
}
